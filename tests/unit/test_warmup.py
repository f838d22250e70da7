"""Warm-up: found where series with a known change point settle."""

from __future__ import annotations

import numpy as np
import pytest

from hpcdl.analysis.warmup import LEAST, warmup_steps
from hpcdl.errors import RecordError


@pytest.mark.parametrize("change", [2, 3, 5, 9, 14])
@pytest.mark.parametrize("factor", [0.7, 1.5, 20.0])
def test_a_known_change_point_is_found(change: int, factor: float) -> None:
    """Never before it; a step or two late where chance has it so."""
    random = np.random.default_rng(change)
    late = []
    for _ in range(200):
        steps = 0.1 * random.lognormal(0.0, 0.03, 40)
        steps[:change] *= factor
        late.append(warmup_steps(steps.tolist()) - change)
    assert min(late) >= 0 and np.mean(np.array(late) == 0) > 0.7 and np.mean(np.array(late) <= 4) > 0.95


def test_a_slow_decay_is_cut_where_it_drowns_in_the_noise() -> None:
    random = np.random.default_rng(0)
    steps = 0.1 * (1.0 + 4.0 * np.exp(-np.arange(60) / 4.0)) * random.lognormal(0.0, 0.02, 60)
    left = steps[warmup_steps(steps.tolist()) :]
    assert np.mean(left) == pytest.approx(0.1, rel=0.02)


def test_a_slow_step_later_on_is_measured_and_not_cut() -> None:
    steps = [5.0, 0.2] + [0.1 + 0.001 * (at % 5) for at in range(38)]
    assert warmup_steps(steps) == LEAST
    steps[12] = 0.5
    assert warmup_steps(steps) == LEAST


def test_a_series_that_does_not_settle_keeps_its_second_half() -> None:
    assert warmup_steps([2.0**-at for at in range(20)]) == 10


def test_equal_steps_have_the_least_warmup() -> None:
    assert [warmup_steps([0.1] * count) for count in (4, 5, 10, 100)] == [2, 2, 2, 2]


def test_it_stays_between_two_and_half() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        steps = random.pareto(1.0, random.integers(4, 60)) + 0.01
        assert LEAST <= warmup_steps(steps.tolist()) <= len(steps) // 2


@pytest.mark.parametrize("steps", [[], [1.0] * 3, [1.0, 1.0, 1.0, 0.0], [1.0, -1.0, 1.0, 1.0], [1.0, float("nan")] * 3])
def test_what_is_no_series_of_times_is_refused(steps: list[float]) -> None:
    with pytest.raises(RecordError):
        warmup_steps(steps)
