"""Several benchmarks' records as one document."""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcdl.errors import RecordError
from hpcdl.records import SCHEMA, Measurement, Results, ToAccuracy


@dataclass(frozen=True)
class Source:
    """One benchmark folder, the name it goes by in the report, and its records."""

    name: str
    folder: Path
    results: Results


def merge(sources: Sequence[Source], command: Sequence[str], out: Path) -> Results:
    """One document for all sources, as it stands in `out`.

    Speedup and efficiency keep the base that they were measured against: a base never crosses folders. Where
    two folders hold the same series, the recipe's name gets the folder's, so that they stay two series. The
    folders of the runs are told relative to `out`.
    """
    if len(sources) == 1:
        only = sources[0]
        return only.results.model_copy(
            update={
                "results": [_moved(m, only, out) for m in only.results.results],
                "accuracy": [_moved_runs(each, only, out) for each in only.results.accuracy],
            }
        )
    shared = _shared(sources)
    merged = [
        _moved(m, source, out).model_copy(update={"recipe": _recipe(m, source, shared)})
        for source in sources
        for m in source.results.results
    ]
    accuracy = [
        _moved_runs(each, source, out).model_copy(update={"recipe": _recipe(each, source, shared)})
        for source in sources
        for each in source.results.accuracy
    ]
    return Results(
        schema=SCHEMA,
        results=merged,
        accuracy=accuracy,
        environment={
            source.name: {
                **source.results.environment,
                "command": shlex.join(source.results.command),
                "created": source.results.created,
            }
            for source in sources
        },
        command=list(command),
        created=max(source.results.created for source in sources),
        config={source.name: source.results.config for source in sources},
    )


def configs(sources: Sequence[Source]) -> dict[tuple[str, str, str, str], Mapping[str, Any]]:
    """The recipe behind each series of `merge`, by engine, mode, recipe and input."""
    shared = _shared(sources) if len(sources) > 1 else set()
    return {
        (m.engine, m.mode, _recipe(m, source, shared), m.input): source.results.config
        for source in sources
        for m in source.results.results
    }


def refuse_twins(measurements: Sequence[Measurement], where: str) -> None:
    """Raises RecordError where one document holds the same point twice, since a series has one of each."""
    seen = set()
    for m in measurements:
        key = (*_study(m), m.ranks, m.nodes)
        if key in seen:
            raise RecordError(
                f"{where}: twice {m.recipe}, {m.engine}, {m.mode}, {m.input}, {m.ranks} ranks",
                "each point once, with all its repetitions",
                "measure again with `hpcdl bench scaling`",
            )
        seen.add(key)


def _study(m: Measurement) -> tuple[str, str, str, str]:
    return m.engine, m.mode, m.recipe, m.input


def _shared(sources: Sequence[Source]) -> set[str]:
    """Recipes of which two sources hold the same series."""
    owners: dict[tuple[str, str, str, str], set[str]] = {}
    for source in sources:
        for m in source.results.results:
            owners.setdefault(_study(m), set()).add(source.name)
    return {recipe for (_, _, recipe, _), names in owners.items() if len(names) > 1}


def _recipe(m: Measurement | ToAccuracy, source: Source, shared: set[str]) -> str:
    return f"{m.recipe} ({source.name})" if m.recipe in shared else m.recipe


def _moved(m: Measurement, source: Source, out: Path) -> Measurement:
    repetitions = [
        repetition.model_copy(update={"run": _relative(source.folder / repetition.run, out)})
        for repetition in m.repetitions
    ]
    return m.model_copy(update={"repetitions": repetitions})


def _moved_runs(each: ToAccuracy, source: Source, out: Path) -> ToAccuracy:
    return each.model_copy(update={"runs": [_relative(source.folder / run, out) for run in each.runs]})


def _relative(run: Path, out: Path) -> str:
    return Path(os.path.relpath(run, out)).as_posix()
