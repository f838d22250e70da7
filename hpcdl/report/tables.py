"""Measurements as flat rows: for CSV in full, for people rounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from hpcdl.analysis.scaling import imbalance, oversubscribed
from hpcdl.analysis.stats import harmonic_mean
from hpcdl.records import Measurement
from hpcdl.report import text
from hpcdl.report.series import Series


@dataclass(frozen=True)
class Table:
    """A header and rows of text; `words` is how many leading columns are words, not figures."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    words: int
    shared: str = ""
    """Words that hold for every row, where they are left out of the rows."""


def rate_table(series: Sequence[Series]) -> Table:
    """How fast it went: images/s, speedup and efficiency, median [low to high]."""
    header = ["recipe", "engine", "mode", "images", "ranks", "images/s", "images/s a rank", "speedup"]
    header += ["efficiency %", "rank-hours for 1M images", "threads a rank", "nodes", "repetitions"]
    rows = [_rate_row(m, alone=len(one.points) == 1) for one in series for m in one.points]
    return Table("How fast it went", header, rows, words=4)


def step_table(series: Sequence[Series]) -> Table:
    """Where a step's time goes, in milliseconds."""
    header = ["recipe", "engine", "mode", "images", "ranks", "global batch", "step ms", "step ms p95", "compute ms"]
    header += ["input wait ms", "communication ms", "communication share", "slowest / median rank", "threads / cores"]
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


def csv_text(series: Sequence[Series]) -> str:
    """results.csv: a row a measurement, seconds and ratios unrounded; `ranks,images_per_s` come first."""
    rows = [_csv_row(m) for one in series for m in one.points]
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def rank_hours(measurement: Measurement) -> float:
    """What a million images cost: ranks times hours. It only falls where efficiency exceeds 1."""
    return measurement.ranks * 1e6 / measurement.images_per_s.median / 3600.0


def _setting(m: Measurement) -> list[str]:
    return [m.recipe, m.engine, m.mode, m.input, str(m.ranks)]


def _rate_row(m: Measurement, *, alone: bool) -> list[str]:
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
        *_setting(m),
        text.rate(m.images_per_s),
        text.number(m.images_per_s.median / m.ranks),
        speedup,
        efficiency,
        text.number(rank_hours(m)),
        str(m.threads),
        str(m.nodes),
        str(len(m.images_per_s.samples)) + ("" if many else " [no interval]"),
    ]


def _step_row(m: Measurement) -> list[str]:
    s = m.step_seconds
    return [
        *_setting(m),
        str(m.global_batch),
        *(text.milliseconds(value) for value in (s.median, s.p95, s.compute, s.input, s.communication)),
        text.percent(m.communication_share),
        text.ratio(imbalance(m)),
        f"{m.ranks * m.threads} / {m.cores}" + (" [oversubscribed]" if oversubscribed(m) else ""),
    ]


def _csv_row(m: Measurement) -> dict[str, object]:
    rate, s = m.images_per_s, m.step_seconds
    return {
        "ranks": m.ranks,
        "images_per_s": rate.median,
        "images_per_s_low": rate.low,
        "images_per_s_high": rate.high,
        "images_per_s_harmonic_mean": harmonic_mean(rate.samples),
        "repetitions": len(rate.samples),
        "speedup": m.speedup,
        "speedup_low": m.speedup_interval[0],
        "speedup_high": m.speedup_interval[1],
        "efficiency": m.efficiency,
        "efficiency_low": m.efficiency_interval[0],
        "efficiency_high": m.efficiency_interval[1],
        "base_ranks": m.base_ranks,
        "engine": m.engine,
        "mode": m.mode,
        "recipe": m.recipe,
        "input": m.input,
        "nodes": m.nodes,
        "threads": m.threads,
        "cores": m.cores,
        "oversubscribed": oversubscribed(m),
        "global_batch": m.global_batch,
        "micro_batch": m.micro_batch,
        "step_s": s.median,
        "step_p95_s": s.p95,
        "compute_s": s.compute,
        "input_wait_s": s.input,
        "communication_s": s.communication,
        "communication_share": m.communication_share,
        "slowest_over_median_rank": imbalance(m),
        "rank_hours_per_million_images": rank_hours(m),
    }
