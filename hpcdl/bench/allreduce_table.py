"""An allreduce benchmark as lines for a person. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hpcdl.allreduce import MEMORY, PLAIN, AllreduceResults, Estimate, Fit, Point
from hpcdl.bench.allreduce_asked import second_words, size_words
from hpcdl.records import Interval

HEAD = ("ranks", "bytes", "what", "median call", "95 %", "alg GB/s", "bus GB/s", "of plain", "of a copy")
NAMES = {MEMORY: "memory copy", PLAIN: "plain MPI"}
NOTES = (
    "A call lasts as long as on its slowest rank; GB/s are 10^9 bytes of float32 a second; bus: alg x 2(p - 1)/p.",
    "of plain: how much of plain MPI's bandwidth; of a copy: bus bandwidth over that of copying the bytes in memory.",
)


def table(results: AllreduceResults) -> Iterator[str]:
    """A line for each point, by ranks and size, beside plain MPI and a copy in memory of the same bytes."""
    rows = [HEAD, *(_row(point, results.points) for point in results.points)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    before = None
    for row in rows:
        if before is not None and row[:2] != before[:2] and before is not HEAD:
            yield ""
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[2] = row[2].ljust(widths[2])
        yield "  ".join(cells).rstrip()
        before = row


def fit_lines(results: AllreduceResults) -> Iterator[str]:
    """Latency and cost a byte of each series; what the data do not carry is said not to be measured."""
    for fit in results.fits:
        error = "" if fit.error is None else f"; the model is off by {fit.error:.0%} (median of {fit.sizes} sizes)"
        yield f"{fit.ranks} ranks, {label(fit)}: alpha {_alpha(fit.alpha)}, beta {_beta(fit.beta)}{error}"


def label(point: Point | Fit) -> str:
    """The engine and in what values travel."""
    name = NAMES.get(point.engine, point.engine)
    return name if point.compression == "none" else f"{name}, {point.compression}"


def _row(point: Point, points: list[Point]) -> tuple[str, ...]:
    beside = {
        other.engine: other
        for other in points
        if (other.ranks, other.nodes, other.bytes) == (point.ranks, point.nodes, point.bytes) and other.engine in NAMES
    }
    plain, copy, bus = beside.get(PLAIN), beside.get(MEMORY), point.bus_bandwidth
    return (
        str(point.ranks),
        size_words(point.bytes),
        label(point),
        second_words(point.seconds.median),
        _interval(point.seconds),
        f"{point.algorithm_bandwidth.median / 1e9:.3g}",
        f"{bus.median / 1e9:.3g}" if bus else "",
        f"{plain.seconds.median / point.seconds.median:.2f}" if plain and bus and plain is not point else "",
        f"{bus.median / copy.algorithm_bandwidth.median:.2g}" if bus and copy else "",
    )


def _interval(seconds: Interval) -> str:
    """One start has no interval."""
    if len(seconds.samples) < 2:
        return ""
    return f"[{second_words(seconds.low)}, {second_words(seconds.high)}]"


def _alpha(alpha: Estimate) -> str:
    if not alpha.resolved:
        return f"not measured (below {second_words(alpha.high)})" if alpha.high > 0 else "not measured"
    return f"{second_words(alpha.value)} [{second_words(alpha.low)}, {second_words(alpha.high)}]"


def _beta(beta: Estimate) -> str:
    if not beta.resolved:
        return "not measured"
    rate = f"{1e-9 / beta.value:.3g} GB/s [{1e-9 / beta.high:.3g}, {1e-9 / beta.low:.3g}]"
    return f"{beta.value * 1e9:.3g} ns/byte, which is {rate}"
