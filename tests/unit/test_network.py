"""Costs against algorithms that are played message by message, overlap against a schedule, maxima against draws."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hpcdl.analysis import network
from hpcdl.analysis.links import find_link
from hpcdl.analysis.network import Cost
from hpcdl.errors import ConfigError

COST = Cost(alpha=1e-5, beta=1e-9, gamma=2e-10)


def played_ring(size: float, ranks: int) -> float:
    """A ring allreduce: ranks - 1 steps that send and add a part, as many that send a finished part."""
    part = size / ranks
    send = COST.alpha + part * COST.beta
    return sum(send + part * COST.gamma for _ in range(ranks - 1)) + sum(send for _ in range(ranks - 1))


def played_halving(size: float, ranks: int) -> float:
    """Rabenseifner's: halves that are sent and added until each rank has one part, then doubles that are sent."""
    seconds, part = 0.0, size
    while part > size / ranks:
        part /= 2.0
        seconds += 2.0 * (COST.alpha + part * COST.beta) + part * COST.gamma
    return seconds


@pytest.mark.parametrize("ranks", [1, 2, 4, 8, 64, 512])
@pytest.mark.parametrize("size", [8.0, 1e5, 1e8])
def test_costs_are_those_of_the_algorithms(size: float, ranks: int) -> None:
    assert network.ring(size, ranks, COST) == pytest.approx(played_ring(size, ranks))
    assert network.rabenseifner(size, ranks, COST) == pytest.approx(played_halving(size, ranks))
    rounds = int(np.log2(ranks))
    doubling = sum(COST.alpha + size * (COST.beta + COST.gamma) for _ in range(rounds))
    assert network.recursive_doubling(size, ranks, COST) == pytest.approx(doubling)
    all_three = [each(size, ranks, COST) for each in (network.ring, network.recursive_doubling, network.rabenseifner)]
    assert network.best(size, ranks, COST) == min(all_three)


def test_a_ring_costs_as_well_on_ranks_that_are_no_power_of_two() -> None:
    assert network.ring(1e6, 3, COST) == pytest.approx(played_ring(1e6, 3))


def test_two_levels_meet_the_published_formula_and_one_level_at_their_ends() -> None:
    inside, between = Cost(1e-6, 1e-11), Cost(1e-5, 8e-10)
    n, g, nodes = 1e8, 8, 16
    formula = 2 * 7 * 1e-6 + 2 * n * 7 / 8 * 1e-11 + 2 * 15 * 1e-5 + 2 * (n / 8) * 15 / 16 * 8e-10
    assert network.hierarchical(n, g, nodes, inside, between) == pytest.approx(formula)
    assert network.hierarchical(n, g, 1, inside, between) == pytest.approx(network.ring(n, g, inside))
    assert network.hierarchical(n, 1, nodes, inside, between) == pytest.approx(network.ring(n, nodes, between))


def test_bus_bandwidth_of_a_ring_without_latency_is_that_of_the_link() -> None:
    seconds = network.ring(1e9, [2, 8, 512], Cost(0.0, 1e-10))
    assert network.bus_bandwidth(1e9, [2, 8, 512], seconds) == pytest.approx([1e10] * 3)


def test_exposed_communication_is_what_a_schedule_leaves_after_the_backward_pass() -> None:
    draw = random.Random(0)
    for _ in range(200):
        ready = sorted(draw.uniform(0.0, 1.0) for _ in range(draw.randint(1, 9)))
        costs = [draw.uniform(0.0, 0.4) for _ in ready]
        # All that follows a bucket keeps the channel busy, for the bucket that ends last.
        last = max(gradient + sum(costs[at:]) for at, gradient in enumerate(ready))
        assert network.exposed(ready, costs, 1.0) == pytest.approx(max(0.0, last - 1.0))


def test_equal_buckets_have_a_closed_form() -> None:
    draw = random.Random(1)
    for _ in range(200):
        buckets, backward, total = draw.randint(1, 20), draw.uniform(0.0, 2.0), draw.uniform(0.0, 3.0)
        ready = [backward * (at + 1) / buckets for at in range(buckets)]
        schedule = network.exposed(ready, [total / buckets] * buckets, backward)
        assert network.exposed_equal(total, buckets, backward) == pytest.approx(schedule)


def test_expected_maximum_of_normal_values() -> None:
    # Harter 1961, "Expected values of normal order statistics"; for two it is 1 / sqrt(pi).
    known = {1: 0.0, 2: 1 / np.sqrt(np.pi), 3: 0.84628, 10: 1.53875, 100: 2.50759}
    for count, value in known.items():
        assert network.expected_maximum(count) == pytest.approx(value, abs=1e-5)
    draws = np.random.default_rng(0).standard_normal((400, 10_000)).max(axis=1)
    assert network.expected_maximum(10_000) == pytest.approx(draws.mean(), abs=4 * draws.std() / 20)


def test_expected_maximum_of_measured_values() -> None:
    dice = [1, 2, 3, 4, 5, 6]
    pairs = [max(one, other) for one in dice for other in dice]
    assert network.expected_maximum_of(dice, 2) == pytest.approx(np.mean(pairs))
    assert network.expected_maximum_of([0.3], 100) == pytest.approx(0.3)


def test_links_are_found_by_name_and_by_figures() -> None:
    assert find_link("100gbit-ib").cost.beta == pytest.approx(8 / 100e9)
    assert find_link("4x200gbit-ib").cost.beta == pytest.approx(8 / 800e9)
    assert find_link("2e-6, 1e-10").cost == Cost(2e-6, 1e-10)


@pytest.mark.parametrize("text", ["100gbit", "0x100gbit-ib", "", "1e-5,", "1e-5,-1", "nan,1e-9", "1,2,3", "1e-5,inf"])
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_link(text)
    assert caught.value.received == f"--network {text}"
