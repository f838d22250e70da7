"""One study out of the points that several jobs have measured."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hpcdl.analysis.scaling import Point, measurements
from hpcdl.errors import RecordError
from hpcdl.records import SCHEMA, Measurement, Results, ToAccuracy, read_results


def join(folder: Path, command: Sequence[str]) -> Results:
    """The results of a study whose points lie in folders of their own, with speedups over their common base.

    Args:
        folder: of the study; each folder in it that holds a results.json is a part.
        command: to repeat it, for the record.

    Returns:
        All points; their runs' folders are told relative to `folder`.

    Raises:
        RecordError: no part, or parts that did not measure the same recipe with the same software.
    """
    parts = {path.parent: read_results(path) for path in sorted(folder.glob("*/results.json"))}
    if not parts:
        raise RecordError(f"{folder} without results.json in any of its folders", "at least one measured point", _FIX)
    first, *others = parts
    for other in others:
        for name, one, two in (
            ("recipes", parts[first].config, parts[other].config),
            ("versions", *(parts[place].environment.get("versions") for place in (first, other))),
        ):
            if one != two:
                raise RecordError(f"{first} and {other} with different {name}", "parts of one study", _FIX)
    points = [_point(m, part.relative_to(folder)) for part, results in parts.items() for m in results.results]
    points.sort(key=lambda point: (point.mode, point.ranks, point.nodes))
    return Results(
        schema=SCHEMA,
        results=measurements(points),
        accuracy=[
            _moved(each, part.relative_to(folder)) for part, results in parts.items() for each in results.accuracy
        ],
        environment={part.name: results.environment for part, results in parts.items()},
        command=list(command),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=parts[first].config,
    )


def _point(m: Measurement, part: Path) -> Point:
    repetitions = tuple(each.model_copy(update={"run": (part / each.run).as_posix()}) for each in m.repetitions)
    return Point(
        engine=m.engine,
        ranks=m.ranks,
        nodes=m.nodes,
        mode=m.mode,
        recipe=m.recipe,
        input=m.input,
        global_batch=m.global_batch,
        micro_batch=m.micro_batch,
        threads=m.threads,
        cores=m.cores,
        epoch_images=m.epoch_images,
        repetitions=repetitions,
    )


def _moved(accuracy: ToAccuracy, part: Path) -> ToAccuracy:
    return accuracy.model_copy(update={"runs": [(part / run).as_posix() for run in accuracy.runs]})


_FIX = "submit the missing points again with `hpcdl bench scaling --site`"
