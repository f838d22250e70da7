"""The tables that a report has only where the records carry them."""

from __future__ import annotations

from collections.abc import Sequence

from hpcdl.allreduce import AllreduceResults, Estimate
from hpcdl.records import ToAccuracy
from hpcdl.report import text
from hpcdl.report.outlook import Outlook
from hpcdl.report.pairs import Pair
from hpcdl.report.series import Series
from hpcdl.report.tables import Table, setting
from hpcdl.report.used import Used, used

NOT_MEASURED = "not measured"


def use_table(series: Sequence[Series]) -> Table:
    """What the points took; a column that no point has is left out, for the page says why."""
    points = [m for one in series for m in one.points]
    columns = [("allreduce a step", [text.size(m.allreduce_bytes) if m.ranks > 1 else "none" for m in points])]
    columns += [_column(name, key, [used(m) for m in points]) for name, key in _USES]
    columns = [(name, cells) for name, cells in columns if set(cells) != {NOT_MEASURED}]
    rows = [[*setting(m), *(cells[at] for _, cells in columns)] for at, m in enumerate(points)]
    header = ["recipe", "engine", "mode", "images", "ranks", *(name for name, _ in columns)]
    return Table("What it took of the machine", header, rows, words=4)


def unmeasured(series: Sequence[Series]) -> list[str]:
    """The columns that `use_table` leaves out."""
    uses = [used(m) for one in series for m in one.points]
    return [name for name, key in _USES if all(getattr(use, key) is None for use in uses)]


def input_table(found: Sequence[Pair]) -> Table:
    """Images that were read against synthetic ones."""
    header = ["recipe", "engine", "mode", "images", "ranks", "images/s", "synthetic images/s", "of synthetic %"]
    rows = [
        [
            *setting(pair.read),
            text.rate(pair.read.images_per_s),
            text.rate(pair.synthetic.images_per_s),
            _percent(pair),
            {None: "one repetition: no verdict", True: "intervals part", False: "not distinguishable"}[pair.apart],
        ]
        for pair in found
    ]
    return Table("What the input costs", [*header, "verdict"], rows, words=4)


def accuracy_table(found: Sequence[ToAccuracy]) -> Table:
    """How long training took to an accuracy."""
    header = ["recipe", "engine", "images", "ranks", "nodes", "global batch", "test accuracy", "reached", "seconds"]
    rows = [
        [
            *(each.recipe, each.engine, each.input, str(each.ranks), str(each.nodes), str(each.global_batch)),
            text.percent(each.target),
            f"{each.reached} of {len(each.best)}",
            text.rate(each.seconds) if each.seconds else "not reached",
            text.listing([f"{epochs:.3g}" for epochs in sorted(each.epochs)]) if each.epochs else "not reached",
            text.listing([text.percent(best) for best in each.best]) if each.best else NOT_MEASURED,
        ]
        for each in found
    ]
    return Table("Time to accuracy", [*header, "epochs", "best accuracy"], rows, words=3)


def forecast_table(found: Outlook) -> Table:
    """Images/s at rank counts that were measured and beyond."""
    measured = {m.ranks: m for m in found.used}
    rows = [
        [
            str(each.ranks),
            f"{text.number(each.median)} {text.bracket(text.number(each.low), text.number(each.high))}",
            f"{100.0 * each.efficiency:.1f}",
            text.rate(measured[each.ranks].images_per_s) if each.ranks in measured else NOT_MEASURED,
        ]
        for each in found.forecasts
    ]
    header = ["ranks", "forecast images/s", "forecast efficiency %", "measured images/s"]
    return Table("What more ranks would give", header, rows, words=0)


def allreduce_table(benchmarks: Sequence[AllreduceResults]) -> Table:
    """The largest sums of each engine: where bandwidth counts; all sizes are in the figure and the records."""
    rows = []
    for results in benchmarks:
        series = dict.fromkeys((p.engine, p.compression, p.ranks, p.nodes) for p in results.points if p.bus_bandwidth)
        for key in series:
            own = [p for p in results.points if (p.engine, p.compression, p.ranks, p.nodes) == key and p.bus_bandwidth]
            largest = max(own, key=lambda p: p.bytes)
            bus = largest.bus_bandwidth or largest.algorithm_bandwidth
            low, high = (text.size(end) for end in (bus.low, bus.high))
            spread = f" {text.bracket(low, high)}" if len(bus.samples) > 1 else ""
            rows.append([key[0], key[1], str(key[2]), str(key[3]), text.size(largest.bytes)])
            rows[-1] += [text.milliseconds(largest.seconds.median), f"{text.size(bus.median)}{spread}"]
            fit = next((f for f in results.fits if (f.engine, f.compression, f.ranks, f.nodes) == key), None)
            rows[-1] += [_fitted(fit.alpha, 1e6), _fitted(fit.beta, 1e9)] if fit else [NOT_MEASURED] * 2
    header = ["engine", "compression", "ranks", "nodes", "size", "milliseconds", "bus bandwidth a second"]
    header += ["alpha µs a message", "beta ns a byte"]
    return Table("The allreduce alone, at its largest size", header, rows, words=2)


def _fitted(value: Estimate, scale: float) -> str:
    """A fitted cost with its interval, where the data carry it."""
    if not value.resolved:
        return "lost in the noise"
    low, high = (text.quantity(scale * end) for end in (value.low, value.high))
    return f"{text.quantity(scale * value.value)} {text.bracket(low, high)}"


def _column(name: str, key: str, uses: Sequence[Used]) -> tuple[str, list[str]]:
    values = [getattr(use, key) for use in uses]
    return name, [NOT_MEASURED if value is None else text.quantity(value) for value in values]


def _percent(pair: Pair) -> str:
    ends = pair.interval
    spread = f" {text.bracket(*(f'{100.0 * end:.1f}' for end in ends))}" if ends else ""
    return f"{100.0 * pair.ratio:.1f}{spread}"


_USES = (
    ("CPU % of one core", "cpu_percent"),
    ("memory GiB", "memory_gib"),
    ("GPU %", "gpu_percent"),
    ("GPU memory GiB", "gpu_memory_gib"),
    ("energy J", "joules"),
    ("images/J", "images_per_joule"),
)
