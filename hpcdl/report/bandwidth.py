"""An allreduce benchmark as a figure of bus bandwidth against size, and a CSV file of its points."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from hpcdl.allreduce import MEMORY, PLAIN, AllreduceResults, Point, read_allreduce
from hpcdl.errors import RecordError
from hpcdl.report import figures
from hpcdl.report.axes import DASHES
from hpcdl.report.theme import LIGHT, MARKERS

NAMES = {MEMORY: "copy in memory", PLAIN: "plain MPI"}
KEY = ("engine", "compression", "ranks", "nodes", "bytes")
VALUES = ("seconds", "seconds_low", "seconds_high", "algorithm_bytes_per_s", "bus_bytes_per_s", "repetitions")


def files(folder: Path) -> dict[str, bytes]:
    """What a report of such a folder holds, by name.

    Raises:
        RecordError: its records cannot be used.
    """
    path = folder / "results.json"
    results = read_allreduce(path)
    if not any(point.bus_bandwidth for point in results.points):
        raise RecordError(f"{path} without sums over two ranks or more", "some to draw", "measure with --ranks 2")
    return {"bandwidth.png": figures.png(figure(results)), "results.csv": csv_text(results).encode()}


def figure(results: AllreduceResults) -> Figure:
    """Bus bandwidth against bytes, a panel for each number of ranks: medians, with intervals of several starts."""
    worlds = list(dict.fromkeys((point.ranks, point.nodes) for point in results.points if point.bus_bandwidth))
    labels = list(dict.fromkeys(_label(point) for point in results.points if point.ranks > 1))
    drawn = Figure(figsize=(figures.WIDTH, figures.PANEL * len(worlds) + 0.6), dpi=figures.DPI, layout="constrained")
    panels = drawn.subplots(len(worlds), 1, squeeze=False)[:, 0]
    for axes, (ranks, nodes) in zip(panels, worlds, strict=True):
        where = f" on {nodes} hosts" if nodes > 1 else ""
        axes.set_title(f"{ranks} ranks{where}", fontsize=10, loc="left", color=LIGHT.ink)
        points = [point for point in results.points if (point.ranks, point.nodes) == (ranks, nodes)]
        for at, label in enumerate(labels):
            _draw(axes, [point for point in points if _label(point) == label], label, at)
        _frame(axes)
    handles, names = panels[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside lower left", frameon=False, fontsize=9, ncols=2, labelcolor=LIGHT.ink)
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
    axes.set_xlabel("bytes on each rank", fontsize=10, color=LIGHT.ink)
    axes.set_ylabel("bus bandwidth (GB/s)", fontsize=10, color=LIGHT.ink)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_label(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color=LIGHT.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def size_label(count: float) -> str:
    """64 Ki, 16 Mi."""
    for power, unit in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if count >= 1024**power:
            return f"{count / 1024**power:g} {unit}B"
    return f"{count:g} B"


def _label(point: Point) -> str:
    name = NAMES.get(point.engine, point.engine)
    return name if point.compression == "none" else f"{name}, {point.compression}"
