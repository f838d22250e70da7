"""From the calls of an allreduce benchmark to its points and fits: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hpcdl.allreduce import MEMORY, Fit, Point, Sample
from hpcdl.analysis import stats
from hpcdl.analysis.collectives import algorithm_bandwidth, bus_bandwidth, fit_ring, slowest


class Key(NamedTuple):
    """What tells points apart; the fields are those of hpcdl.allreduce.Point."""

    engine: str
    compression: str
    ranks: int
    nodes: int
    bytes: int


Found = Mapping[Key, Sequence[Sample]]


def points(found: Found) -> list[Point]:
    """The points, by ranks and size.

    Raises:
        RecordError: a start without calls, with unequal numbers of them, or a time that is not above zero.
    """
    return [_point(key, found[key]) for key in sorted(found, key=lambda key: (key.ranks, key.nodes, key.bytes))]


def fits(found: Found) -> list[Fit]:
    """The cost model of each engine, compression and number of ranks that has two sizes or more.

    Raises:
        RecordError: see `points`.
    """
    groups: dict[tuple[str, str, int, int], dict[int, list[list[float]]]] = {}
    for key, samples in found.items():
        if key.engine != MEMORY:
            sizes = groups.setdefault(key[:4], {})
            sizes[key.bytes] = [slowest(sample.seconds) for sample in samples]
    return [_fit(*group, sizes) for group, sizes in sorted(groups.items(), key=_order) if len(sizes) > 1]


def _order(item: tuple[tuple[str, str, int, int], object]) -> tuple[int, int]:
    return item[0][2], item[0][3]


def _fit(engine: str, compression: str, ranks: int, nodes: int, sizes: Mapping[int, list[list[float]]]) -> Fit:
    alpha, beta, error = fit_ring(sizes, ranks)
    return Fit(
        engine=engine,
        compression=compression,
        ranks=ranks,
        nodes=nodes,
        sizes=len(sizes),
        alpha=alpha,
        beta=beta,
        error=error,
    )


def _point(key: Key, samples: Sequence[Sample]) -> Point:
    seconds = [stats.median(slowest(sample.seconds)) for sample in samples]
    bus = None
    if key.engine != MEMORY:
        bus = stats.rate_interval([bus_bandwidth(key.bytes, each, key.ranks) for each in seconds])
    return Point(
        **key._asdict(),
        seconds=stats.median_interval(seconds),
        algorithm_bandwidth=stats.rate_interval([algorithm_bandwidth(key.bytes, each) for each in seconds]),
        bus_bandwidth=bus,
        starts=list(samples),
    )
