"""One start of all ranks, read back from its run's records."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

from hpcdl.analysis.warmup import FEWEST, warmup_steps
from hpcdl.bench.usage import read_usage
from hpcdl.errors import RecordError
from hpcdl.records import STEP_PARTS, RankTiming, Repetition, read_json

AGAIN = "measure again"
Rows = dict[int, dict[str, float]]
"""By the step's number: images, and the seconds of each of STEP_PARTS."""


def read_repetition(
    run: Path, folder: Path, index: int, warmup: int | None, tell: Callable[[str], object] = lambda note: None
) -> Repetition:
    """One start, from its run's records.

    Args:
        run: its folder.
        folder: of the study.
        index: its number.
        warmup: steps that are dropped; None: found from the slowest rank's step times.
        tell: hears of torn lines, which are left out.

    Raises:
        RecordError: a rank's step times are missing, too few, or of another version.
    """
    places = read_json(run / "environment.json", fix=AGAIN)["ranks"]
    launch = read_json(run / "launch.json", fix=AGAIN)
    summary = read_json(run / "summary.json", fix=AGAIN)
    tables = [read_steps(run / "ranks" / f"{place['rank']}.steps.csv", tell) for place in places]
    # A step that one rank's file has lost is no step of the others either: they all made it together.
    steps = sorted(set.intersection(*(set(table) for table in tables)))
    if warmup is None:
        if len(steps) < FEWEST:
            raise RecordError(f"{run} with {len(steps)} steps", f"{FEWEST} or more, to find the warm-up", AGAIN)
        warmup = warmup_steps([max(table[step]["step"] for table in tables) for step in steps])
    measured = steps[warmup:]
    if not measured:
        told = f"{run} with no step after {warmup} of warm-up"
        raise RecordError(told, "measured steps", "raise --steps")
    timings = [
        RankTiming(
            rank=place["rank"],
            host=place["host"],
            node=place["node"],
            local_rank=place["local_rank"],
            cpus=place["cpus"],
            **{part: [table[step][part] for step in measured] for part in STEP_PARTS},
        )
        for place, table in zip(places, tables, strict=True)
    ]
    images = int(sum(tables[0][step]["images"] for step in measured))
    seconds = max(sum(timing.step) for timing in timings)
    if seconds <= 0.0:
        raise RecordError(f"{run} with {len(measured)} steps in {seconds:g} s", "times above zero", AGAIN)
    return Repetition(
        index=index,
        run=str(run.relative_to(folder)),
        started=launch["started"],
        warmup_steps=warmup,
        steps=len(measured),
        seconds=seconds,
        images=images,
        images_per_s=images / seconds,
        allreduce_bytes=summary["allreduce_bytes"],
        usage=read_usage(run / "ranks", places, timings, measured[0], tell),
        ranks=timings,
    )


def read_steps(path: Path, tell: Callable[[str], object] = lambda note: None) -> Rows:
    """The rows of a rank's steps.csv.

    Raises:
        RecordError: there is no such file, or it has other columns.
    """
    wanted = {"step", "images", *(f"{part}_seconds" for part in STEP_PARTS)}
    found, torn = Rows(), 0
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            table = csv.DictReader(file)
            if missing := wanted - set(table.fieldnames or ()):
                told = f"{path} without {', '.join(sorted(missing))}"
                raise RecordError(told, "the columns of this version of hpcdl", AGAIN)
            for row in table:
                try:
                    values = {part: float(row[f"{part}_seconds"]) for part in STEP_PARTS} | {
                        "images": int(row["images"])
                    }
                    step = int(row["step"])
                except (TypeError, ValueError):
                    torn += 1
                    continue
                if row.get(None) or not all(map(math.isfinite, values.values())):
                    torn += 1
                    continue
                found[step] = values
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}", "the step times of every rank", AGAIN) from None
    if torn:
        tell(f"{path}: {torn} torn line{'' if torn == 1 else 's'} left out")
    return found
