"""Forecasts of published scaling tables from a part of each, beside the USL and Amdahl's law fitted to the same part.

    python benchmarks/forecast_validation.py [--sensitivity] [--out FOLDER]

Three protocols: `next` fits all rank counts but the last, and predicts it; `node` fits those of one node, and predicts
all others; `four` fits each beginning of two or more rank counts, and predicts four times the last of it. A table's
error is the median of the absolute errors of its predictions, and that of a protocol the median over tables. The
tables, with their sources, are in tables.yaml. --sensitivity repeats `node` with other seeds, and with each prior's
median halved and doubled, one at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from document import write

from hpcdl.analysis import laws, priors
from hpcdl.analysis.forecast import SEED, Point, calibrate
from hpcdl.analysis.links import find_link
from hpcdl.analysis.stepmodel import Setting
from hpcdl.errors import RecordError

TABLES = Path(__file__).with_name("tables.yaml")
PROTOCOLS = ("next", "node", "four")
LAWS = ("usl", "amdahl")


@dataclass(frozen=True)
class Prediction:
    """One held-out rank count: what was measured, and what each model says; NaN where a law cannot be fitted."""

    table: str
    kind: str
    """known; after, where the table was read when the model was done; or servers, which the model does not describe."""
    protocol: str
    fitted: tuple[int, ...]
    ranks: int
    measured: float
    hpcdl: float
    low: float
    high: float
    usl: float
    amdahl: float

    def error(self, model: str) -> float:
        """Relative, in percent."""
        return 100.0 * (float(getattr(self, model)) / self.measured - 1.0)


def splits(points: Sequence[Point], ranks_per_node: int, protocol: str) -> Iterator[tuple[list[Point], list[Point]]]:
    """What is fitted and what is predicted, a pair a fit."""
    if protocol == "next" and len(points) > 2:
        yield list(points[:-1]), list(points[-1:])
    if protocol == "node":
        inside = [point for point in points if point.ranks <= ranks_per_node]
        if 2 <= len(inside) < len(points):
            yield inside, list(points[len(inside) :])
    if protocol == "four":
        for count in range(2, len(points)):
            if far := [point for point in points[count:] if point.ranks == 4 * points[count - 1].ranks]:
                yield list(points[:count]), far


def setting_of(table: dict[str, Any]) -> Setting:
    """What a table's source tells of machine and work."""
    inside, between = (find_link(table[name]) if table.get(name) else None for name in ("inside", "between"))
    return Setting(table["ranks_per_node"], table.get("batch"), None, table.get("bytes"), inside, between)


def law(name: str, fitted: Sequence[Point], ranks: Sequence[int]) -> list[float]:
    """A law's rates; NaN where there are too few points for it."""
    try:
        found = laws.fit(name, [point.ranks for point in fitted], [point.rate for point in fitted])
    except RecordError:
        return [float("nan")] * len(ranks)
    return [float(rate) for rate in found.rate(ranks)]


def predictions(
    tables: dict[str, dict[str, Any]], protocols: Sequence[str] = PROTOCOLS, *, seed: int = SEED, with_laws: bool = True
) -> Iterator[Prediction]:
    """Every prediction of every table."""
    known = {"allreduce": "known", "servers": "servers"}
    for name, table in tables.items():
        points = [Point(ranks, rate) for ranks, rate in sorted(table["points"].items())]
        for protocol in protocols:
            for fitted, held in splits(points, table["ranks_per_node"], protocol):
                ranks = [point.ranks for point in held]
                found = calibrate(fitted, setting_of(table), seed=seed).forecast(ranks)
                others = [law(each, fitted, ranks) if with_laws else [float("nan")] * len(ranks) for each in LAWS]
                for at, (point, each) in enumerate(zip(held, found, strict=True)):
                    yield Prediction(
                        table=name,
                        kind="after" if table.get("after") else known[table["updates"]],
                        protocol=protocol,
                        fitted=tuple(one.ranks for one in fitted),
                        ranks=point.ranks,
                        measured=point.rate,
                        hpcdl=each.median,
                        low=each.low,
                        high=each.high,
                        usl=others[0][at],
                        amdahl=others[1][at],
                    )


def by_table(found: Sequence[Prediction], model: str) -> dict[str, float]:
    """Each table's median absolute error in percent; without those that the model could not be fitted to."""
    errors: dict[str, list[float]] = {}
    for each in found:
        if not np.isnan(each.error(model)):
            errors.setdefault(each.table, []).append(abs(each.error(model)))
    return {table: float(np.median(several)) for table, several in errors.items()}


def summary(found: Sequence[Prediction]) -> dict[str, float]:
    """Medians over tables, and how often the interval held what was measured."""
    medians = {model: float(np.median(list(by_table(found, model).values()))) for model in ("hpcdl", *LAWS)}
    return medians | {"covered": float(np.mean([each.low <= each.measured <= each.high for each in found]))}


def report(found: Sequence[Prediction]) -> Iterator[str]:
    """The tables in Markdown: signed errors in percent by prediction, in the order of the rank counts."""
    for protocol in PROTOCOLS:
        of = [each for each in found if each.protocol == protocol]
        errors = {model: by_table(of, model) for model in ("hpcdl", *LAWS)}
        yield f"## {protocol}\n"
        yield "| table | predicted ranks | hpcdl | USL | Amdahl | best |\n|---|---|---|---|---|---|"
        won = 0
        tables = list(dict.fromkeys((each.table, each.kind) for each in of))
        for table, kind in tables:
            several = [each for each in of if each.table == table]
            best = min(errors, key=lambda model: errors[model].get(table, np.inf))
            won += best == "hpcdl"
            cells = [", ".join(_signed(each.error(model)) for each in several) for model in errors]
            name = f"{table} (servers)" if kind == "servers" else table
            yield f"| {name} | {', '.join(str(each.ranks) for each in several)} | {' | '.join(cells)} | {best} |"
        parts = {
            "all tables": of,
            "allreduce": [each for each in of if each.kind != "servers"],
            "read after the model was done": [each for each in of if each.kind == "after"],
        }
        for name, part in parts.items():
            medians = summary(part)
            cells = [f"**{medians[model]:.1f}**" for model in errors]
            yield f"| median absolute error, {name} | | {' | '.join(cells)} | |"
        yield f"\nhpcdl was best on {won} of {len(tables)} tables; its 95 % intervals held {_covered(of)}.\n"


def sensitivity(tables: dict[str, dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """hpcdl's median of `node`, which rests on the priors most, with other seeds, and with one prior changed."""

    def median(seed: int = SEED) -> float:
        found = list(predictions(tables, ("node",), seed=seed, with_laws=False))
        return float(np.median(list(by_table(found, "hpcdl").values())))

    for seed in range(SEED + 1, SEED + 4):
        yield f"seed {seed}", median(seed)
    for place, unknown in enumerate(list(priors.UNKNOWNS)):
        for factor in (0.5, 2.0):
            priors.UNKNOWNS[place] = replace(unknown, median=factor * unknown.median)
            yield f"{unknown.name} x {factor:g}", median()
        priors.UNKNOWNS[place] = unknown


def _signed(percent: float) -> str:
    return "-" if np.isnan(percent) else f"{percent:+.1f}"


def _covered(found: Sequence[Prediction]) -> str:
    inside = sum(each.low <= each.measured <= each.high for each in found)
    return f"{inside} of {len(found)} held-out points"


def main() -> None:
    """Prints the tables, and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sensitivity", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    tables = yaml.safe_load(TABLES.read_text(encoding="utf-8"))
    found = list(predictions(tables))
    printed = list(report(found))
    figures: dict[str, Any] = {"predictions": [_plain(each) for each in found]}
    figures["summary"] = {name: summary([each for each in found if each.protocol == name]) for name in PROTOCOLS}
    print(*printed, sep="\n")
    if options.sensitivity:
        figures["sensitivity"] = dict(sensitivity(tables))
        lines = ["## sensitivity\n", "| changed | median absolute error of `node` |\n|---|---|"]
        lines += [f"| {name} | {error:.1f} |" for name, error in figures["sensitivity"].items()]
        print(*lines, sep="\n")
        printed += lines
    if options.out:
        write(options.out / "results.json", figures, "numpy", "scipy")
        page = ["# Forecasts of published scaling tables\n", *(__doc__ or "").splitlines()[2:], "", *printed]
        (options.out / "README.md").write_text("\n".join(page) + "\n", encoding="utf-8")


def _plain(each: Prediction) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in vars(each).items()}


if __name__ == "__main__":
    main()
