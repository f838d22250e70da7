"""The folder of a run or a benchmark: made before anything starts, never mixed with an older one."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from datetime import datetime
from itertools import chain, count
from pathlib import Path

from hpcdl.errors import ConfigError
from hpcdl.records import STARTS

RUN = (
    "config.yaml",
    "checkpoints",
    "ended.json",
    "environment.json",
    "evaluation",
    "events.jsonl",
    "job.json",
    "job.sbatch",
    "launch.json",
    "mpirun.log",
    "model.keras",
    "ranks",
    "stopped.json",
    "submission.json",
    "summary.json",
)
RUN_MARKS = ("launch.json", "events.jsonl", "submission.json")
"""A folder with one of these is a run's; hpcdl writes them first."""
STUDY, SUITE = "study.json", "suite.json"
"""What a benchmark and a suite were asked for."""
PICTURES = tuple(
    f"{name}.{kind}"
    for name in (
        *("throughput", "speedup", "efficiency", "steps", "imbalance", "inputs", "cost", "accuracy", "forecast"),
        "bandwidth",
    )
    for kind in ("png", "svg")
)
TABLES = ("report.html", "report.md", "report.tex", "results.csv", "results.schema.json", "mlperf.log", "compare.md")
BENCH = ("results.json", STARTS, STUDY, SUITE, "runs", *TABLES, *PICTURES)
START = re.compile(r"(weak|strong|accuracy|plain|mpi|horovod)(-(real|synthetic)-(single|mpi|horovod))?-\d+-\d+")
TASK = re.compile(r"\d+|nodes-\d+|jobs|slurm-[\d_]+\.out")
"""What a submission leaves besides: an array's runs, a study's points and jobs, and Slurm's logs."""


def default_folder(name: str, now: datetime) -> Path:
    """runs/NAME-DATE-TIME, with -2, -3, … where another has begun in the same second."""
    path = Path("runs") / f"{name}-{now:%Y%m%d-%H%M%S}"
    later = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(each for each in chain([path], later) if not each.exists())


def prepare(folder: Path, *, overwrite: bool) -> None:
    """Makes an empty folder for records.

    Args:
        folder: made with its parents.
        overwrite: delete what an earlier run or benchmark of hpcdl left in it, and nothing else.

    Raises:
        ConfigError: it holds records, or files of somebody else with the names of records, or it cannot
            be written.
    """
    try:
        taken = [folder / name for name in (*RUN, *BENCH) if (folder / name).exists()] + _submitted(folder)
        foreign = [path for path in taken if path not in _ours(folder)]
        if foreign:
            raise ConfigError(
                f"--out {folder}, which holds a {foreign[0].name} that no run left there",
                "a new folder",
                "choose another --out",
            )
        if taken and not overwrite:
            raise ConfigError(
                f"--out {folder}, which holds an earlier run ({taken[0].name})",
                "a new folder",
                "choose another --out, or add --overwrite",
            )
        for path in taken:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"--out {folder}: {error.strerror}", "a folder that can be written", "choose another --out"
        ) from None


def reopen(folder: Path) -> None:
    """Makes an earlier run's folder ready to go on in, or a new one where there is none.

    What the last start said of its end goes; what ranks said of failures stays, numbered.

    Raises:
        ConfigError: it holds something else, or cannot be written.
    """
    if not folder.is_dir() or not any((folder / mark).exists() for mark in RUN_MARKS):
        prepare(folder, overwrite=False)
        return
    for name in ("summary.json", "stopped.json", "ended.json"):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / "ranks").glob("*.failure.json"):
        number = 1
        while (kept := path.with_suffix(f".{number}.json")).exists():
            number += 1
        path.rename(kept)


def discard(folder: Path) -> None:
    """Takes back what `prepare` and its caller have made: records, and the folder if nothing else is in it."""
    prepare(folder, overwrite=True)
    with suppress(OSError):
        folder.rmdir()


def _ours(folder: Path) -> list[Path]:
    """What hpcdl is known to have written: the user's own `config.yaml` or `runs` is not among it."""
    submitted = _submitted(folder)
    marked = submitted or any((folder / mark).exists() for mark in RUN_MARKS)
    run = [*(folder / name for name in RUN), *submitted] if marked else []
    starts = list((folder / "runs").iterdir()) if (folder / "runs").is_dir() else []
    bench = (folder / "results.json").exists() or bool(starts)
    if bench and all(START.fullmatch(start.name) and (start / "launch.json").exists() for start in starts):
        return [*run, *(folder / name for name in BENCH)]
    return run


def _submitted(folder: Path) -> list[Path]:
    """What a submission to Slurm left; nothing where there was none."""
    if not (folder / "submission.json").exists() and not (folder / "jobs" / "report" / "submission.json").exists():
        return []
    return [path for path in folder.iterdir() if TASK.fullmatch(path.name)]
