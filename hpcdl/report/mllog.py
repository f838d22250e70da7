"""The records as lines in the style of MLPerf's training logs (mlcommons/logging, mlperf_logging.mllog.constants).

A style, not a submission: these are measured steps and timed trainings of hpcdl, under no rule of MLPerf's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from hpcdl.records import Measurement, Results, ToAccuracy
from hpcdl.report.work import Work

PREFIX = ":::MLLOG "


def mllog(results: Results, work: Work) -> str:
    """mlperf.log: an interval a repetition, then a run for each training to an accuracy."""
    lines = [line for m in results.results for line in _measured(m, work)]
    lines += [line for each in results.accuracy for line in _trained(each, work)]
    return "\n".join(lines) + "\n"


def _measured(m: Measurement, work: Work) -> Iterator[str]:
    point = {"engine": m.engine, "ranks": m.ranks, "nodes": m.nodes, "mode": m.mode, "input": m.input}
    for repetition in m.repetitions:
        started, about = _milliseconds(repetition.started), {**point, "repetition": repetition.index}
        yield from _head(started, m.recipe, m.global_batch, work, about)
        value = {"throughput": repetition.images_per_s}
        yield _line(
            started, "tracked_stats", value, {**about, "steps": repetition.steps, "seconds": repetition.seconds}
        )


def _trained(each: ToAccuracy, work: Work) -> Iterator[str]:
    """Times count from the first update, which is 0. Starts that did not reach the target have no time."""
    point = {
        "engine": each.engine,
        "ranks": each.ranks,
        "nodes": each.nodes,
        "input": each.input,
        "clock": "first update",
    }
    seconds = each.seconds.samples if each.seconds else []
    for at, took in enumerate(seconds):
        about = {**point, "start": at}
        yield from _head(0, each.recipe, each.global_batch, work, about)
        yield _line(0, "run_start", None, about, "INTERVAL_START")
        stop = round(1000.0 * took)
        yield _line(stop, "eval_accuracy", each.target, {**about, "at_least": True})
        yield _line(stop, "run_stop", None, {**about, "status": "success"}, "INTERVAL_END")


def _head(time: int, recipe: str, batch: int, work: Work, about: dict[str, Any]) -> Iterator[str]:
    yield _line(time, "submission_benchmark", recipe, about)
    yield _line(time, "global_batch_size", batch, about)
    if work.words == "an epoch":
        yield _line(time, "train_samples", work.images, about)


def _line(time: int, key: str, value: object, about: dict[str, Any], kind: str = "POINT_IN_TIME") -> str:
    record = {"namespace": "", "time_ms": time, "event_type": kind, "key": key, "value": value, "metadata": about}
    return PREFIX + json.dumps(record, allow_nan=False)


def _milliseconds(started: str) -> int:
    """Of an ISO 8601 time; 0 where the records hold something else."""
    try:
        return round(1000.0 * datetime.fromisoformat(started).timestamp())
    except ValueError:
        return 0
