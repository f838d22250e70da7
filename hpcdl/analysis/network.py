"""What an allreduce costs, what of it hides behind the backward pass, and what waiting for the slowest rank costs.

Costs are those of the alpha-beta-gamma model: α seconds a message, β seconds a byte on the link, γ seconds a byte
reduced (Thakur, Rabenseifner, Gropp 2005, "Optimization of Collective Communication Operations in MPICH"). All
functions take numbers or arrays, are pure, and answer seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """Of one link: α seconds a message, β seconds a byte, γ seconds a byte that is added."""

    alpha: float
    beta: float
    gamma: float = 0.0


def ring(size: npt.ArrayLike, ranks: npt.ArrayLike, cost: Cost) -> Array:
    """2(p-1)α + 2n(p-1)/p β + n(p-1)/p γ: least bytes, most messages (Patarasuk and Yuan 2009)."""
    n, p = _both(size, ranks)
    share = n * (p - 1.0) / p
    seconds: Array = 2.0 * (p - 1.0) * cost.alpha + 2.0 * share * cost.beta + share * cost.gamma
    return seconds


def recursive_doubling(size: npt.ArrayLike, ranks: npt.ArrayLike, cost: Cost) -> Array:
    """ceil(log2 p)(α + nβ + nγ): fewest messages, for small ones."""
    n, p = _both(size, ranks)
    seconds: Array = np.ceil(np.log2(p)) * (cost.alpha + n * cost.beta + n * cost.gamma)
    return seconds


def rabenseifner(size: npt.ArrayLike, ranks: npt.ArrayLike, cost: Cost) -> Array:
    """2 ceil(log2 p)α + 2n(p-1)/p β + n(p-1)/p γ: halves, then doubles; exact for powers of two (Rabenseifner 2004)."""
    n, p = _both(size, ranks)
    share = n * (p - 1.0) / p
    seconds: Array = 2.0 * np.ceil(np.log2(p)) * cost.alpha + 2.0 * share * cost.beta + share * cost.gamma
    return seconds


def best(size: npt.ArrayLike, ranks: npt.ArrayLike, cost: Cost) -> Array:
    """The cheapest of ring, recursive doubling and Rabenseifner, as libraries choose by size."""
    costs = [each(size, ranks, cost) for each in (ring, recursive_doubling, rabenseifner)]
    return np.asarray(np.min(costs, axis=0), dtype=np.float64)


def hierarchical(size: npt.ArrayLike, ranks_per_node: int, nodes: npt.ArrayLike, inside: Cost, between: Cost) -> Array:
    """Two levels: a reduce-scatter and an allgather inside each node, between them an allreduce of each rank's part.

    2(g-1)α₁ + 2n(g-1)/g β₁ + 2(N-1)α₂ + 2(n/g)(N-1)/N β₂. The g ranks of a node cross at once, so `between.beta`
    is that of one rank's share of the link: g times the link's where they share one.
    """
    return ring(size, ranks_per_node, inside) + ring(np.asarray(size) / ranks_per_node, nodes, between)


def bus_bandwidth(size: npt.ArrayLike, ranks: npt.ArrayLike, seconds: npt.ArrayLike) -> Array:
    """Bytes a second (n/t)·2(p-1)/p, which compares with a link's whatever the rank count (nccl-tests)."""
    n, p = _both(size, ranks)
    return n / np.asarray(seconds, dtype=np.float64) * 2.0 * (p - 1.0) / p


def exposed(ready: Sequence[float], costs: Sequence[float], backward: float) -> float:
    """Seconds of communication after the end of the backward pass.

    Buckets go one after the other over one channel: each starts when its gradients are there and the one before it
    is through (Shi, Chu, Li 2019, "MG-WFBP", equations 5 to 7).

    Args:
        ready: when the gradients of each bucket are there, in seconds from the start of the backward pass.
        costs: seconds of each bucket's allreduce.
        backward: seconds of the backward pass.
    """
    end = 0.0
    for gradient, seconds in zip(ready, costs, strict=True):
        end = max(end, gradient) + seconds
    return max(0.0, end - backward)


def exposed_equal(total: npt.ArrayLike, buckets: npt.ArrayLike, backward: npt.ArrayLike) -> Array:
    """`exposed` of k equal buckets that get ready at even times, in closed form: max(t/k, t - b(1 - 1/k)).

    Args:
        total: t, seconds of all buckets' allreduces.
        buckets: k.
        backward: b, seconds of the backward pass; 0 where nothing is hidden.
    """
    t, k, b = (np.asarray(each, dtype=np.float64) for each in (total, buckets, backward))
    return np.maximum(t / k, t - b * (1.0 - 1.0 / k))


@cache
def expected_maximum(count: int) -> float:
    """Expected maximum of `count` independent standard normal values: 0, 0.56, 1.03, 1.42 for 1, 2, 4, 8.

    So N ranks whose steps take m ± s seconds wait for one that takes m + s·expected_maximum(N).
    """
    x, width = np.linspace(-9.0, 11.0, 8001, retstep=True)
    density = np.exp(-0.5 * x * x) * width / np.sqrt(2.0 * np.pi)
    # What lies above, by trapezoids, summed from the far end, where its digits are.
    above = np.minimum(np.cumsum(density[::-1])[::-1] - 0.5 * density, 1.0 - 1e-16)
    below = np.exp(count * np.log1p(-above))
    return float(np.sum(0.5 * (x[1:] + x[:-1]) * np.diff(below)))


def expected_maximum_of(samples: npt.ArrayLike, count: int) -> float:
    """Expected maximum of `count` draws, with replacement, from measured values, in their unit.

    It is bounded by the largest sample, so it is of use for counts up to about as many as there are samples.
    """
    values = np.sort(np.asarray(samples, dtype=np.float64))
    below = np.arange(len(values) + 1) / len(values)
    return float(np.sum(values * np.diff(below**count)))


def _both(size: npt.ArrayLike, ranks: npt.ArrayLike) -> tuple[Array, Array]:
    return np.asarray(size, dtype=np.float64), np.asarray(ranks, dtype=np.float64)
