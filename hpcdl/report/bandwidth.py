"""An allreduce benchmark as a figure of bus bandwidth against size, and a CSV file of its points."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from hpcdl.allreduce import MEMORY, PLAIN, AllreduceResults, Point
from hpcdl.report import canvas
from hpcdl.report.axes import DASHES, key, style
from hpcdl.report.canvas import PANEL, blank
from hpcdl.report.theme import LIGHT, MARKERS

NAMES = {MEMORY: "copy in memory", PLAIN: "plain MPI"}
CAPTION = (
    "Marks: median over starts of the median call, with the 95 % bootstrap interval where there were several; "
    "lines only guide the eye. The copy, without a bus, is bytes over seconds."
)
KEY = ("engine", "compression", "ranks", "nodes", "bytes")
VALUES = ("seconds", "seconds_low", "seconds_high", "algorithm_bytes_per_s", "bus_bytes_per_s", "repetitions")


def files(results: AllreduceResults) -> dict[str, bytes]:
    """What a report of such a benchmark alone holds, by name."""
    drawn = figure([results])
    return {
        "bandwidth.png": canvas.png(drawn),
        "bandwidth.svg": canvas.svg(drawn),
        "results.csv": csv_text(results).encode(),
    }


def figure(benchmarks: Sequence[AllreduceResults], *, note: bool = True) -> Figure:
    """Bus bandwidth against bytes, a panel for each number of ranks: medians, with intervals of several starts."""
    worlds = [
        (results, ranks, nodes)
        for results in benchmarks
        for ranks, nodes in dict.fromkeys((point.ranks, point.nodes) for point in results.points if point.bus_bandwidth)
    ]
    labels = list(dict.fromkeys(_label(p) for results in benchmarks for p in results.points if p.ranks > 1))
    drawn = blank(PANEL * len(worlds) + 0.6, note=note)
    panels = drawn.subplots(len(worlds), 1, squeeze=False)[:, 0]
    handles: dict[str, Artist] = {}
    for axes, (results, ranks, nodes) in zip(panels, worlds, strict=True):
        where = f" on {nodes} hosts" if nodes > 1 else ""
        axes.set_title(f"{ranks} ranks{where}", fontsize=10, loc="left", color=LIGHT.ink)
        points = [point for point in results.points if (point.ranks, point.nodes) == (ranks, nodes)]
        for at, label in enumerate(labels):
            _draw(axes, [point for point in points if _label(point) == label], label, at)
        _frame(axes)
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    key(drawn, list(handles.values()), CAPTION if note else "", columns=1 if note else 2)
    return drawn


def csv_text(results: AllreduceResults) -> str:
    """A row for each point."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*KEY, *VALUES])
    for point in results.points:
        seconds, bus = point.seconds, point.bus_bandwidth
        key = (point.engine, point.compression, point.ranks, point.nodes, point.bytes)
        rates = (point.algorithm_bandwidth.median, bus.median if bus else "")
        writer.writerow([*key, seconds.median, seconds.low, seconds.high, *rates, len(seconds.samples)])
    return file.getvalue()


def _draw(axes: Axes, points: Sequence[Point], label: str, at: int) -> None:
    shown = [point.bus_bandwidth or point.algorithm_bandwidth for point in points]
    if not points:
        return
    x, y = [point.bytes for point in points], [rate.median / 1e9 for rate in shown]
    colour, memory = LIGHT.cycle[at % len(LIGHT.cycle)], label == NAMES[MEMORY]
    if memory:
        axes.plot(x, y, color=LIGHT.ink, linestyle=DASHES, linewidth=1.0, label=label)
        return
    ends = [[(rate.median - rate.low) / 1e9 for rate in shown], [(rate.high - rate.median) / 1e9 for rate in shown]]
    bars = ends if any(len(rate.samples) > 1 for rate in shown) else None
    marker = MARKERS[at % len(MARKERS)]
    axes.errorbar(x, y, bars, label=label, color=colour, marker=marker, markersize=5, linewidth=0.8, capsize=3)


def _frame(axes: Axes) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    style(axes, "bytes on each rank", "bus bandwidth (GB/s)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_label(value)))
    axes.xaxis.set_minor_locator(NullLocator())


def size_label(count: float) -> str:
    """64 Ki, 16 Mi."""
    for power, unit in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if count >= 1024**power:
            return f"{count / 1024**power:g} {unit}B"
    return f"{count:g} B"


def _label(point: Point) -> str:
    name = NAMES.get(point.engine, point.engine)
    return name if point.compression == "none" else f"{name}, {point.compression}"
