"""Reads the folders of a report, and refuses what no figure could show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdl.allreduce import AllreduceResults, is_allreduce, read_allreduce
from hpcdl.errors import ConfigError, RecordError
from hpcdl.records import Results, read_results
from hpcdl.report.check import check
from hpcdl.report.merge import Source, refuse_twins

RECORDS = "results.json"
_AGAIN = "measure again with `hpcdl bench scaling`"


@dataclass(frozen=True)
class Folders:
    """What was read.

    Attributes:
        sources: folders of `bench scaling`.
        sums: folders of `bench allreduce`.
    """

    sources: list[Source]
    sums: list[tuple[Path, AllreduceResults]]


def read(folders: Sequence[Path]) -> Folders:
    """The records of each folder, once.

    Raises:
        RecordError: a folder without usable records.
        ConfigError: no folder.
    """
    if not folders:
        raise ConfigError("no folder", "one or more folders that hold results.json", "name them: hpcdl report DIR…")
    distinct = list({folder.resolve(): folder for folder in folders}.values())
    alone = [folder for folder in distinct if is_allreduce(folder / RECORDS)]
    others = [folder for folder in distinct if folder not in alone]
    names = [folder.resolve().name for folder in others]
    sources = [
        Source(name if names.count(name) == 1 else str(folder), folder, read_scaling(folder))
        for name, folder in zip(names, others, strict=True)
    ]
    return Folders(sources, [(folder, _sums(folder)) for folder in alone])


def read_scaling(folder: Path) -> Results:
    """The checked records of a scaling study.

    Raises:
        RecordError: there are none, or they cannot be used.
    """
    records = folder / RECORDS
    if not folder.is_dir():
        raise RecordError(f"no folder {folder}", f"a folder that holds {RECORDS}", _AGAIN)
    if not records.exists() and (folder / "config.yaml").exists() and (folder / "events.jsonl").exists():
        raise RecordError(
            f"{folder}, which is a training run",
            f"a benchmark's folder, which holds {RECORDS}",
            "measure one with `hpcdl bench scaling`",
        )
    if is_allreduce(records):
        raise RecordError(f"{folder}, which is an allreduce benchmark", "a scaling study", _AGAIN)
    results = read_results(records)
    if not results.results:
        raise RecordError(f"{records} without a measurement", "at least one", _AGAIN)
    refuse_twins(results.results, str(records))
    check(results, str(records))
    return results


def _sums(folder: Path) -> AllreduceResults:
    path = folder / RECORDS
    results = read_allreduce(path)
    if not any(point.bus_bandwidth for point in results.points):
        raise RecordError(f"{path} without sums over two ranks or more", "some to draw", "measure with --ranks 2")
    return results
