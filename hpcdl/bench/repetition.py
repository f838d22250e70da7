"""One start of all ranks, read back from its run's records."""

from __future__ import annotations

import csv
from pathlib import Path

from hpcdl.errors import RecordError
from hpcdl.records import RankTiming, Repetition, read_json

AGAIN = "measure again"


def read_repetition(run: Path, folder: Path, index: int, warmup: int) -> Repetition:
    """One start, from its run's records.

    Raises:
        RecordError: a rank's step times are missing or too few.
    """
    places = read_json(run / "environment.json", fix=AGAIN)["ranks"]
    launch = read_json(run / "launch.json", fix=AGAIN)
    tables = [read_steps(run / "ranks" / f"{place['rank']}.steps.csv", warmup) for place in places]
    timings = [
        RankTiming(
            rank=place["rank"],
            host=place["host"],
            node=place["node"],
            local_rank=place["local_rank"],
            cpus=place["cpus"],
            step=[float(row["step_seconds"]) for row in table],
            input=[float(row["input_seconds"]) for row in table],
            communication=[float(row["communication_seconds"]) for row in table],
        )
        for place, table in zip(places, tables, strict=True)
    ]
    images = sum(int(row["images"]) for row in tables[0])
    seconds = max(sum(timing.step) for timing in timings)
    return Repetition(
        index=index,
        run=str(run.relative_to(folder)),
        started=launch["started"],
        warmup_steps=warmup,
        steps=len(tables[0]),
        seconds=seconds,
        images=images,
        images_per_s=images / seconds,
        ranks=timings,
    )


def read_steps(path: Path, warmup: int) -> list[dict[str, str]]:
    """The rows of a rank's steps.csv after so many of warm-up.

    Raises:
        RecordError: there is no such file, or no row left.
    """
    try:
        with path.open(encoding="ascii", newline="") as file:
            rows = list(csv.DictReader(file))[warmup:]
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}", "the step times of every rank", "measure again") from None
    if not rows:
        raise RecordError(f"{path} with no step after {warmup} of warm-up", "measured steps", "raise --steps")
    return rows
