"""What a schema cannot say of records: times that are none, repetitions that are missing, figures that do not agree."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hpcdl.analysis.scaling import check_timing, imbalance
from hpcdl.analysis.stats import harmonic_mean, median
from hpcdl.errors import RecordError
from hpcdl.records import Interval, Measurement, Results
from hpcdl.report.series import group

CLOSE = 1e-6
"""Relative: how well a figure must agree with those that it was computed from."""
_FIX = "measure again with `hpcdl bench scaling`"


def check(results: Results, where: str) -> None:
    """Refuses records whose figures do not carry each other.

    Raises:
        RecordError: names the file, the point and the figure.
    """
    for m in results.results:
        place = f"{where}: {m.recipe}, {m.engine}, {m.mode}, {m.input}, {m.ranks} ranks"
        try:
            _measurement(m)
        except RecordError as error:
            raise RecordError(f"{place}: {error.received}", error.expected, error.fix) from None
    for one in group(results.results):
        for m in one.points:
            ratio = m.images_per_s.median / one.base.images_per_s.median
            if m.base_ranks != one.base.ranks or not math.isclose(m.speedup, ratio, rel_tol=CLOSE):
                raise RecordError(
                    f"{where}: {one.setting}: a speedup of {m.speedup:g} over {m.base_ranks} ranks, where the images/s "
                    f"give {ratio:g} over {one.base.ranks}",
                    "speedups over the fewest ranks of their series",
                    _FIX,
                )
    for each in results.accuracy:
        if each.seconds:
            _interval(each.seconds, f"{where}: time to accuracy, {each.recipe}, {each.ranks} ranks")
    _one_processor(results, where)


def _measurement(m: Measurement) -> None:
    _interval(m.images_per_s, "images/s")
    harmonic_mean([m.speedup, m.efficiency, m.ranks, m.nodes, m.base_ranks, m.threads, m.cores, m.global_batch])
    s = m.step_seconds
    harmonic_mean([s.median, s.p95])
    _times([s.input, s.communication, s.compute, s.other], "part of a step")
    if len(m.images_per_s.samples) != len(m.repetitions):
        raise RecordError(
            f"images/s of {len(m.images_per_s.samples)} repetitions, and {len(m.repetitions)} repetitions", "both", _FIX
        )
    for repetition, rate in zip(m.repetitions, m.images_per_s.samples, strict=True):
        harmonic_mean([repetition.seconds, repetition.images])
        if not math.isclose(repetition.images / repetition.seconds, rate, rel_tol=CLOSE):
            told = f"repetition {repetition.index}: {rate:g} images/s, and {repetition.images} images in "
            raise RecordError(f"{told}{repetition.seconds:g} s", "figures that agree", _FIX)
        if len(repetition.ranks) != m.ranks:
            raise RecordError(f"repetition {repetition.index} of {len(repetition.ranks)} ranks", f"{m.ranks}", _FIX)
        for timing in repetition.ranks:
            check_timing(timing)
    imbalance(m)


def _interval(value: Interval, what: str) -> None:
    harmonic_mean([*value.samples, value.median, value.low, value.high])
    middle = median(value.samples)
    within = value.low * (1.0 - CLOSE) <= value.median <= value.high * (1.0 + CLOSE)
    if not (within and math.isclose(middle, value.median, rel_tol=CLOSE)):
        told = f"{what}: {value.median:g} in [{value.low:g}, {value.high:g}], and a median of {middle:g}"
        raise RecordError(told, "the samples' median, within its interval", _FIX)


def _times(values: Iterable[float], what: str) -> None:
    for value in values:
        if not (math.isfinite(value) and value >= 0.0):
            raise RecordError(f"a {what} of {value:g} s", "0 s or more", _FIX)


def _one_processor(results: Results, where: str) -> None:
    """Points that several jobs measured, on processors of one kind: else a speedup would compare machines."""
    parts = {name: each for name, each in results.environment.items() if isinstance(each, dict) and each.get("cpu")}
    kinds = {str(each["cpu"]): name for name, each in parts.items()}
    if len(kinds) > 1 and "command" not in next(iter(parts.values())):
        told = ", ".join(f"{kind} ({name})" for kind, name in kinds.items())
        raise RecordError(
            f"{where} with points of different processors: {told}",
            "one kind of machine, for a speedup across them would compare machines",
            "report its parts beside each other, each with its own base: hpcdl report DIR/nodes-1 DIR/nodes-2",
        )
