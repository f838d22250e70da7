"""What was measured as rows of rounded text, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcdl.analysis.scaling import imbalance, oversubscribed
from hpcdl.records import Measurement
from hpcdl.report import text
from hpcdl.report.series import Series
from hpcdl.report.work import Work, device_name


@dataclass(frozen=True)
class Table:
    """A header and rows of text; `words` is how many leading columns are words, not figures."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    words: int
    shared: str = ""
    """Words that hold for every row, where they are left out of the rows."""


def rate_table(series: Sequence[Series], work: Work) -> Table:
    """How fast it went: images/s of all and of a rank, speedup and efficiency, median [low to high], and the cost."""
    device = device_name([m for one in series for m in one.points])
    header = ["recipe", "engine", "mode", "images", "ranks", "images/s", "images/s a rank", "speedup"]
    header += ["efficiency %", f"time {work.words}", f"{device}-hours {work.words}"]
    header += ["threads a rank", "nodes", "repetitions"]
    rows = [_rate_row(m, work, alone=one.top.ranks == one.base.ranks) for one in series for m in one.points]
    return Table("How fast it went", header, rows, words=4)


def step_table(series: Sequence[Series]) -> Table:
    """Where a step's time goes, in milliseconds."""
    header = ["recipe", "engine", "mode", "images", "ranks", "global batch", "step ms", "step ms p95", "compute ms"]
    header += ["input wait ms", "communication ms", "other ms", "communication share", "slowest / median rank"]
    header += ["threads / cores"]
    return Table("Where a step's time goes", header, [_step_row(m) for one in series for m in one.points], words=4)


def condensed(table: Table) -> Table:
    """The table without the columns of words that say the same in every row, which are told once."""
    same = [at for at in range(table.words) if len({row[at] for row in table.rows}) == 1]
    keep = [at for at in range(len(table.header)) if at not in same]
    return Table(
        table.caption,
        [table.header[at] for at in keep],
        [[row[at] for at in keep] for row in table.rows],
        words=table.words - len(same),
        shared=", ".join(f"{table.header[at]} {table.rows[0][at]}" for at in same),
    )


def setting(m: Measurement) -> list[str]:
    """What names a point."""
    return [m.recipe, m.engine, m.mode, m.input, str(m.ranks)]


def _rate_row(m: Measurement, work: Work, *, alone: bool) -> list[str]:
    many = len(m.images_per_s.samples) > 1
    speedup, efficiency = text.ratio(m.speedup), f"{100.0 * m.efficiency:.1f}"
    if alone:
        speedup = efficiency = "one rank count"
    elif m.ranks == m.base_ranks:
        speedup, efficiency = "1 (base)", "100 (base)"
    elif many:
        speedup += " " + text.bracket(*(text.ratio(end) for end in m.speedup_interval))
        efficiency += " " + text.bracket(*(f"{100.0 * end:.1f}" for end in m.efficiency_interval))
    return [
        *setting(m),
        text.rate(m.images_per_s),
        text.number(m.images_per_s.median / m.ranks),
        speedup,
        efficiency,
        text.duration(3600.0 * work.hours(m)),
        text.quantity(work.device_hours(m)),
        str(m.threads),
        str(m.nodes),
        str(len(m.images_per_s.samples)) + ("" if many else " [no interval]"),
    ]


def _step_row(m: Measurement) -> list[str]:
    s = m.step_seconds
    return [
        *setting(m),
        str(m.global_batch),
        *(text.milliseconds(value) for value in (s.median, s.p95, s.compute, s.input, s.communication, s.other)),
        text.percent(m.communication_share),
        text.ratio(imbalance(m)),
        f"{m.ranks * m.threads} / {m.cores}" + (" [oversubscribed]" if oversubscribed(m) else ""),
    ]
