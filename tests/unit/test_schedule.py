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


def test_square_root_scaling_keeps_the_variance_of_a_step() -> None:
    schedule = ScheduleConfig(scaling="sqrt", base_batch=128, warmup_epochs=1)
    rates = [learning_rate(schedule, 0.1, 2048, update, 4, 100) for update in range(6)]
    assert rates == pytest.approx([0.175, 0.25, 0.325, 0.4, 0.4, 0.4])  # 16 times the batch, 4 times the rate


def test_a_smaller_batch_scales_the_rate_down_and_warms_up_from_zero() -> None:
    for scaling, peak in (("linear", 0.025), ("sqrt", 0.05)):
        schedule = ScheduleConfig(scaling=scaling, base_batch=256, warmup_epochs=1)
        rates = [learning_rate(schedule, 0.1, 64, update, 2, 10) for update in range(3)]
        assert rates == pytest.approx([peak / 2, peak, peak])


def test_a_warm_up_that_ends_between_two_updates_stops_at_the_peak() -> None:
    schedule = ScheduleConfig(warmup_epochs=0.25)
    assert [learning_rate(schedule, 1.0, 256, update, 10, 100) for update in range(4)] == pytest.approx(
        [0.4, 0.8, 1.0, 1.0]
    )


def test_steps_are_those_of_goyal() -> None:
    """Section 5.1: a reference of 0.1 for 256, 5 epochs of warm-up, a tenth at epochs 30, 60 and 80."""
    schedule = ScheduleConfig(name="step", scaling="linear", warmup_epochs=5, milestones=[30, 60, 80])
    epoch = 4
    rates = [learning_rate(schedule, 0.1, 8192, update, epoch, 90 * epoch) for update in range(90 * epoch)]
    assert rates[:20] == pytest.approx([0.1 + 3.1 * (update + 1) / 20 for update in range(20)])
    for first, last, rate in ((20, 120, 3.2), (120, 240, 0.32), (240, 320, 0.032), (320, 360, 0.0032)):
        assert rates[first:last] == pytest.approx([rate] * (last - first))


def test_a_milestone_may_lie_inside_an_epoch() -> None:
    # 0.7 x 10 is a little more than 7 in floating point, and means the seventh update
    schedule = ScheduleConfig(name="step", milestones=[0.7, 1.25], factor=0.5)
    rates = [learning_rate(schedule, 1.0, 256, update, 10, 20) for update in range(20)]
    assert rates == [1.0] * 7 + [0.5] * 5 + [0.25] * 8


def test_one_cycle_rises_in_a_line_and_falls_in_a_cosine() -> None:
    schedule = ScheduleConfig(name="one-cycle", warmup_epochs=2, start_factor=0.1, final_factor=0.01)
    rates = [learning_rate(schedule, 0.5, 256, update, 10, 60) for update in range(61)]
    assert rates[:20] == pytest.approx([0.05 + 0.45 * (update + 1) / 20 for update in range(20)])
    assert max(rates) == rates[19] == rates[20] == pytest.approx(0.5)
    assert rates[40] == pytest.approx((0.5 + 0.005) / 2)
    assert rates[60] == pytest.approx(0.005)
    for early, late in ((25, 55), (30, 50), (35, 45)):  # half a cosine is point-symmetric
        assert rates[early] + rates[late] == pytest.approx(0.505)
    assert all(after < before for before, after in pairwise(rates[20:]))


def test_one_cycle_starts_below_the_scaled_peak_and_not_at_the_base() -> None:
    schedule = ScheduleConfig(name="one-cycle", warmup_epochs=1, scaling="linear", base_batch=64)
    assert learning_rate(schedule, 0.1, 256, 0, 100, 1000) == pytest.approx(0.4 * (0.04 + 0.96 / 100))


@pytest.mark.parametrize(
    "schedule",
    [
        ScheduleConfig(name="cosine", warmup_epochs=3),
        ScheduleConfig(name="step", milestones=[1, 2]),
        ScheduleConfig(name="one-cycle", warmup_epochs=3, final_factor=0),
    ],
)
def test_a_rate_is_never_zero(schedule: ScheduleConfig) -> None:
    """Momentum correction divides by it."""
    for updates in (1, 7, 29, 30, 31, 90):
        assert min(learning_rate(schedule, 0.1, 256, update, 10, updates) for update in range(updates)) > 0
