"""The laws against their limits, and their fits against the parameters that made the rates."""

from __future__ import annotations

import numpy as np
import pytest

from hpcdl.analysis import laws
from hpcdl.errors import RecordError

RANKS = [1, 2, 4, 8, 16]


def test_limits_of_the_laws() -> None:
    assert laws.amdahl(1e12, 0.05) == pytest.approx(20.0)  # 1 / s
    assert laws.gustafson(64, 0.0) == 64.0 and laws.gustafson(64, 1.0) == 1.0
    assert laws.usl([1, 7, 64], 0.03, 0.0) == pytest.approx(laws.amdahl([1, 7, 64], 0.03))
    # The peak of the USL is at sqrt((1 - contention) / coherency) (Gunther 2007, equation 4.33).
    p = np.arange(1, 400)
    assert p[np.argmax(laws.usl(p, 0.04, 0.0001))] == pytest.approx(np.sqrt(0.96 / 0.0001), abs=1)


@pytest.mark.parametrize(
    ("name", "parameters"), [("amdahl", (0.03,)), ("amdahl", (0.0,)), ("gustafson", (0.2,)), ("usl", (0.02, 0.0004))]
)
def test_a_fit_finds_what_made_the_rates(name: str, parameters: tuple[float, ...]) -> None:
    rates = laws.Law(name, 250.0, parameters).rate(RANKS)
    found = laws.fit(name, RANKS, rates.tolist())
    assert found.one == pytest.approx(250.0, rel=1e-4)
    assert found.parameters == pytest.approx(parameters, abs=1e-4)
    assert found.rate(64) == pytest.approx(laws.Law(name, 250.0, parameters).rate(64), rel=1e-3)


def test_parameters_stay_physical_where_rates_are_more_than_linear() -> None:
    found = laws.fit("usl", [1, 2, 4], [100.0, 210.0, 430.0])
    assert min(found.parameters) >= 0.0
    assert found.rate(8) <= 8.0 * found.one * (1.0 + 1e-9)


@pytest.mark.parametrize(("name", "points"), [("amdahl", 1), ("usl", 2)])
def test_too_few_rank_counts_are_refused(name: str, points: int) -> None:
    with pytest.raises(RecordError, match=f"{points} rank counts for the law of {name}"):
        laws.fit(name, RANKS[:points], [100.0 * ranks for ranks in RANKS[:points]])
