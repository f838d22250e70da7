"""The simulation against the formulas."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hpcdl.analysis import network
from hpcdl.analysis.forecast import Point, calibrate
from hpcdl.analysis.simulate import Machine, machine_of, simulate
from hpcdl.analysis.stepmodel import Setting


def test_without_noise_every_step_is_the_formula() -> None:
    draw = random.Random(0)
    for _ in range(50):
        compute, buckets, reduction = draw.uniform(0.1, 1.0), draw.randint(1, 9), draw.uniform(0.0, 1.0)
        backward = draw.uniform(0.0, compute)
        machine = Machine(compute, backward, buckets=buckets, reduction=reduction)
        formula = compute + network.exposed_equal(reduction, buckets, backward)
        assert simulate(machine, 16, 3) == pytest.approx([float(formula)] * 3)


def test_with_noise_the_mean_step_waits_for_the_expected_maximum() -> None:
    machine = Machine(compute=0.1, backward=0.06, rank_spread=0.05, buckets=4, reduction=0.02)
    steps = simulate(machine, 64, 2000)
    slowest = 0.1 * (1.0 + 0.05 * network.expected_maximum(64))
    # The slowest rank's backward pass is the window, longer by as much as its step.
    formula = slowest + network.exposed_equal(0.02, 4, 0.06 * slowest / 0.1)
    assert steps.mean() == pytest.approx(float(formula), abs=4 * steps.std() / np.sqrt(2000))


def test_slow_nodes_are_waited_for_as_slow_ranks_are() -> None:
    steps = simulate(Machine(compute=1.0, node_spread=0.1, ranks_per_node=4), 32, 4000)
    formula = 1.0 + 0.1 * network.expected_maximum(8)
    assert steps.mean() == pytest.approx(formula, abs=4 * steps.std() / np.sqrt(4000))


def test_the_slower_of_input_and_the_rest_sets_the_pace() -> None:
    for input_seconds in (0.0, 0.3, 0.49, 0.51, 2.0):
        steps = simulate(Machine(compute=0.5, input=input_seconds), 4, 40)
        assert steps[5:] == pytest.approx([max(0.5, input_seconds)] * 35)


def test_a_hundred_thousand_ranks() -> None:
    machine = Machine(compute=0.2, backward=0.1, rank_spread=0.02, buckets=8, reduction=0.01, ranks_per_node=4)
    steps = simulate(machine, 100_000, 10)
    slowest = 0.2 * (1.0 + 0.02 * network.expected_maximum(100_000))
    assert steps.mean() == pytest.approx(slowest + 0.01 / 8, rel=0.01)


def test_a_calibrated_model_simulates_what_it_forecasts() -> None:
    setting = Setting(ranks_per_node=4, batch=64, bytes=1e8)
    calibrated = calibrate([Point(1, 100.0), Point(2, 194.0), Point(4, 380.0)], setting)
    machine, batch = machine_of(calibrated, 32)
    rate = batch * 300 / simulate(machine, 32, 300).sum()
    # Formula: waiting for ranks and for nodes add up; event by event the slowest rank need not be on the slowest node.
    assert rate == pytest.approx(calibrated.forecast([32])[0].median, rel=0.02)
