"""Bandwidths against published definitions, and the fit against times that were made with known latency and cost."""

from __future__ import annotations

import numpy as np
import pytest

from hpcdl.analysis.collectives import algorithm_bandwidth, bus_bandwidth, fit_ring, slowest
from hpcdl.errors import RecordError

SIZES = [2**power for power in range(10, 27, 2)]


def ring(count: int, ranks: int, alpha: float, beta: float) -> float:
    """2(p - 1) messages, each of a p-th of the bytes."""
    return sum(alpha + count / ranks * beta for _ in range(2 * (ranks - 1)))


def made(
    ranks: int, alpha: float, beta: float, noise: float, seed: int, starts: int = 5
) -> dict[int, list[list[float]]]:
    random = np.random.default_rng(seed)
    luck = random.lognormal(0, noise, starts)  # a start's own, for all its sizes
    return {
        size: [
            (ring(size, ranks, alpha, beta) * luck[at] * random.lognormal(0, noise, 20)).tolist()
            for at in range(starts)
        ]
        for size in SIZES
    }


def test_bandwidths_are_those_of_nccl_tests() -> None:
    # Its PERFORMANCE.md: the bus bandwidth of an allreduce is S/t * 2(n-1)/n.
    assert algorithm_bandwidth(8e9, 2.0) == 4e9
    assert bus_bandwidth(8e9, 2.0, 2) == pytest.approx(4e9)
    assert bus_bandwidth(8e9, 2.0, 8) == pytest.approx(7e9)


@pytest.mark.parametrize(
    ("count", "seconds", "ranks"), [(0, 1, 2), (8, 0, 2), (8, -1, 2), (8, float("nan"), 2), (8, 1, 1)]
)
def test_bandwidths_of_nothing_are_refused(count: float, seconds: float, ranks: int) -> None:
    with pytest.raises(RecordError):
        bus_bandwidth(count, seconds, ranks)


def test_a_link_at_its_limit_has_its_own_bus_bandwidth_whatever_the_ranks() -> None:
    beta = 1 / 12.5e6  # 100 Mbit/s
    for ranks in (2, 3, 8, 100):
        assert bus_bandwidth(10**8, ring(10**8, ranks, 0.0, beta), ranks) == pytest.approx(12.5e6)


@pytest.mark.parametrize("ranks", [2, 3, 4, 64])
def test_exact_times_give_alpha_and_beta_back(ranks: int) -> None:
    calls = {size: [[ring(size, ranks, 3e-5, 4e-10)]] for size in SIZES}
    alpha, beta, error = fit_ring(calls, ranks)
    assert (alpha.value, alpha.low, alpha.high) == pytest.approx((3e-5,) * 3)
    assert (beta.value, beta.low, beta.high) == pytest.approx((4e-10,) * 3)
    assert error == pytest.approx(0.0, abs=1e-9) and alpha.resolved and beta.resolved


def test_the_fit_is_numpys_weighted_least_squares() -> None:
    calls = made(4, 2e-5, 3e-10, 0.3, seed=1)
    medians = np.array([np.median([np.median(start) for start in calls[size]]) for size in SIZES])
    design = np.array([[6.0, 1.5 * size] for size in SIZES])
    expected, *_ = np.linalg.lstsq(design / medians[:, None], np.ones(len(SIZES)), rcond=None)
    alpha, beta, _ = fit_ring(calls, 4)
    assert (alpha.value, beta.value) == pytest.approx(tuple(expected))


def test_intervals_hold_the_known_values_as_often_as_few_starts_allow() -> None:
    """Nine of ten with five starts, each with luck of its own: a bootstrap of so few is too narrow."""
    hits = np.zeros(2)
    trials = 120
    for seed in range(trials):
        alpha, beta, error = fit_ring(made(2, 4e-5, 5e-10, 0.05, seed), 2, resamples=200, seed=seed)
        hits += [alpha.low <= 4e-5 <= alpha.high, beta.low <= 5e-10 <= beta.high]
        assert error is not None and error < 0.15
    assert (hits / trials > 0.8).all()


def test_a_latency_that_the_sizes_do_not_show_is_not_resolved() -> None:
    large = {size: made(2, 1e-7, 1e-9, 0.05, seed=2)[size] for size in SIZES[-4:]}
    alpha, beta, _ = fit_ring(large, 2)
    assert not alpha.resolved and beta.resolved


def test_two_sizes_say_nothing_of_the_error() -> None:
    calls = {size: [[ring(size, 2, 1e-5, 1e-9)]] for size in SIZES[:2]}
    assert fit_ring(calls, 2)[2] is None


@pytest.mark.parametrize(
    ("calls", "ranks"),
    [
        ({1024: [[1.0]]}, 2),
        ({1024: [[1.0]], 2048: [[2.0]]}, 1),
        ({1024: [[1.0]], 2048: [[0.0]]}, 2),
        ({1024: [[1.0]], 2048: [[float("inf")]]}, 2),
        ({1024: [[1.0]], 2048: [[]]}, 2),
        ({1024: [[1.0]], 2048: [[2.0], [2.0]]}, 2),
    ],
)
def test_what_carries_no_fit_is_refused(calls: dict[int, list[list[float]]], ranks: int) -> None:
    with pytest.raises(RecordError):
        fit_ring(calls, ranks)


def test_a_call_lasts_as_long_as_on_its_slowest_rank() -> None:
    assert slowest([[1.0, 5.0], [2.0, 3.0]]) == [2.0, 5.0]
    for bad in ([], [[]], [[1.0], [1.0, 2.0]], [[1.0], [-1.0]]):
        with pytest.raises(RecordError):
            slowest(bad)
