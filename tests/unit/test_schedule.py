"""Learning rates against their formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from hpcdl.config.schema import ScheduleConfig
from hpcdl.training.schedule import learning_rate


def test_a_constant_rate_is_constant() -> None:
    assert {learning_rate(ScheduleConfig(), 0.1, 256, update, 10, 100) for update in range(100)} == {0.1}


def test_linear_scaling_and_warm_up_end_at_the_peak() -> None:
    schedule = ScheduleConfig(scaling="linear", base_batch=128, warmup_epochs=2)
    rates = [learning_rate(schedule, 0.1, 512, update, 10, 100) for update in range(100)]
    assert rates[0] == pytest.approx(0.1 + 0.3 / 20)
    assert rates[19] == pytest.approx(0.4)
    assert rates[20:] == [pytest.approx(0.4)] * 80
    steps = [after - before for before, after in pairwise(rates[:20])]
    assert steps == [pytest.approx(0.3 / 20)] * 19


def test_warm_up_without_scaling_starts_near_zero() -> None:
    schedule = ScheduleConfig(warmup_epochs=1)
    assert [learning_rate(schedule, 0.4, 256, update, 4, 8) for update in range(5)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.4]
    )


def test_cosine_falls_to_zero_after_the_last_update() -> None:
    schedule = ScheduleConfig(name="cosine", warmup_epochs=1)
    for update in range(10, 110):
        expected = 0.5 * (1 + math.cos(math.pi * (update - 10) / 100))
        assert learning_rate(schedule, 1.0, 256, update, 10, 110) == pytest.approx(expected)
    assert learning_rate(schedule, 1.0, 256, 110, 10, 110) == pytest.approx(0.0)


def test_a_run_shorter_than_its_warm_up_has_a_rate() -> None:
    schedule = ScheduleConfig(name="cosine", warmup_epochs=5)
    assert learning_rate(schedule, 1.0, 256, 2, 10, 3) == pytest.approx(3 / 50)
