"""How long starts took to reach a test accuracy, from their runs' records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdl.analysis.stats import median_interval
from hpcdl.bench.repetition import AGAIN
from hpcdl.bench.study import ALONE, Start, Study
from hpcdl.errors import RecordError
from hpcdl.records import ToAccuracy, read_events, read_json


@dataclass(frozen=True)
class Trained:
    """One start: its run's folder, whether it reached the target, seconds, epochs, and the best test accuracy."""

    run: str
    reached: bool
    seconds: float
    epochs: int
    best: float
    nodes: int
    input: str


def read_trained(run: Path, folder: Path, target: float) -> Trained:
    """One start that trained to a target.

    Raises:
        RecordError: no epoch's accuracy was recorded.
    """
    summary = read_json(run / "summary.json", fix=AGAIN)
    environment = read_json(run / "environment.json", fix=AGAIN)
    events = read_events(run / "events.jsonl", lambda note: None)
    accuracies = [event["test_accuracy"] for event in events if event["event"] == "epoch" and "test_accuracy" in event]
    if not accuracies:
        raise RecordError(f"{run} without the test accuracy of an epoch", "one or more", AGAIN)
    return Trained(
        run=str(run.relative_to(folder)),
        reached=summary["test_accuracy"] >= target,
        seconds=summary["seconds"],
        epochs=len(accuracies),
        best=max(accuracies),
        nodes=summary["nodes"],
        input="stand-in" if environment["synthetic"] else "real",
    )


def to_accuracy(study: Study, found: Mapping[Start, Trained]) -> list[ToAccuracy]:
    """A record of each engine and world size whose starts were made; one rank's serve every engine."""
    records = []
    for engine in study.engines:
        for ranks in study.ranks:
            those = [
                trained
                for start, trained in found.items()
                if start.ranks == ranks and start.engine == (engine if ranks > 1 else ALONE)
            ]
            if those:
                records.append(_record(study, engine, ranks, those))
    return records


def _record(study: Study, engine: str, ranks: int, those: Sequence[Trained]) -> ToAccuracy:
    there = [each for each in those if each.reached]
    return ToAccuracy(
        engine=engine,
        ranks=ranks,
        nodes=those[0].nodes,
        recipe=study.config.name,
        input=those[0].input,
        global_batch=study.config.train.global_batch,
        target=study.target or 0.0,
        reached=len(there),
        seconds=median_interval([each.seconds for each in there]) if there else None,
        epochs=[float(each.epochs) for each in there],
        best=[each.best for each in those],
        runs=[each.run for each in those],
    )
