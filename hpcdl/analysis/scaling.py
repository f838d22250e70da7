"""From repetitions to the points of a scaling study: speedup, efficiency and where a step's time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcdl.analysis import stats
from hpcdl.errors import RecordError
from hpcdl.records import STEP_PARTS, Interval, Measurement, RankTiming, Repetition, StepSeconds


@dataclass(frozen=True)
class Point:
    """One configuration with all its repetitions; the fields are those of records.Measurement."""

    engine: str
    ranks: int
    nodes: int
    mode: str
    recipe: str
    input: str
    global_batch: int
    micro_batch: int
    threads: int
    cores: int
    epoch_images: int | None
    repetitions: Sequence[Repetition]

    @property
    def study(self) -> tuple[str, str, str, str]:
        """What must agree for two points to share a base."""
        return self.engine, self.mode, self.recipe, self.input

    @property
    def name(self) -> str:
        """How a message names the point."""
        return f"{self.recipe}, {self.engine}, {self.mode}, {self.input}, {self.ranks} ranks"


def measurements(points: Sequence[Point], *, seed: int = stats.SEED) -> list[Measurement]:
    """The measurements of a study, in the order of its points.

    Speedup is median images/s over that of the base, the fewest ranks of the same engine, mode, recipe and
    input; efficiency is speedup / (ranks / base ranks). For weak and strong scaling alike, since images/s
    already counts the work. The base's own speedup is 1 by definition, without an interval.

    Raises:
        RecordError: a point without repetitions or steps, twice the same point, a rate or a step that is
            not above zero, or lists of a rank that do not belong together.
    """
    _refuse_twins(points)
    rates = [_rates_of(point, seed) for point in points]
    bases: dict[tuple[str, str, str, str], int] = {}
    for at, point in enumerate(points):
        best = bases.setdefault(point.study, at)
        if (point.ranks, point.nodes) < (points[best].ranks, points[best].nodes):
            bases[point.study] = at
    return [
        _measurement(point, rates[at], points[bases[point.study]], rates[bases[point.study]], seed)
        for at, point in enumerate(points)
    ]


def step_seconds(timings: Sequence[RankTiming]) -> tuple[StepSeconds, float]:
    """Seconds of a step, and the share of exposed communication in all step time.

    Medians are over every step given, so they need not add up: the median of a sum is not the sum of medians. What
    is left of a step, `other`, is its own time less that of the parts, at least 0.

    Raises:
        RecordError: no steps, or see `check_timing`.
    """
    for timing in timings:
        check_timing(timing)
    step, input_wait, compute, communication, _ = (
        np.array([second for timing in timings for second in getattr(timing, part)]) for part in STEP_PARTS
    )
    seconds = StepSeconds(
        median=stats.median(step.tolist()),
        p95=stats.percentile(step.tolist(), 95.0),
        input=stats.median(input_wait.tolist()),
        communication=stats.median(communication.tolist()),
        compute=stats.median(compute.tolist()),
        other=stats.median(np.maximum(step - input_wait - compute - communication, 0.0).tolist()),
    )
    return seconds, float(communication.sum() / step.sum())


def check_timing(timing: RankTiming) -> None:
    """Refuses a rank's times that cannot have been measured.

    Raises:
        RecordError: lists of unequal length, a step that is not above zero, or a part that is not finite and 0 or more.
    """
    parts = {part: getattr(timing, part) for part in STEP_PARTS}
    if len({len(values) for values in parts.values()}) > 1:
        told = ", ".join(f"{len(values)} {part}" for part, values in parts.items())
        raise RecordError(f"rank {timing.rank} with {told} times", "as many of each", _FIX)
    for part, values in parts.items():
        for value in values:
            if not (np.isfinite(value) and (value > 0.0 or (value == 0.0 and part != "step"))):
                told = f"a {part} time of rank {timing.rank} of {value:g} s"
                raise RecordError(told, "finite times, steps above zero", _FIX)


def oversubscribed(measurement: Measurement) -> bool:
    """Whether the ranks' compute threads were more than the logical processors they shared."""
    return measurement.ranks * measurement.threads > measurement.cores


def parted(a: Interval, b: Interval) -> bool | None:
    """Whether two intervals do not overlap; None where one is a single repetition, which has no interval."""
    if min(len(a.samples), len(b.samples)) < 2:
        return None
    return a.low > b.high or b.low > a.high


def imbalance(measurement: Measurement) -> float:
    """The slowest rank's own time a step over the median rank's: 1 is even. Median over the repetitions.

    A rank's own time is its step without exposed communication, for a step that ends in an allreduce lasts
    as long on every rank: whoever is early waits there.

    Raises:
        RecordError: no repetitions, ranks or steps, or a rank without own time.
    """
    ratios = []
    for repetition in measurement.repetitions:
        own = [
            stats.median([step - wait for step, wait in zip(timing.step, timing.communication, strict=False)])
            for timing in repetition.ranks
        ]
        if min(own, default=0.0) <= 0.0:
            raise RecordError(
                f"repetition {repetition.index} with a rank that only communicates, or without ranks",
                "ranks that compute",
                _FIX,
            )
        ratios.append(max(own) / stats.median(own))
    return stats.median(ratios)


def _measurement(point: Point, rate: Interval, base: Point, base_rate: Interval, seed: int) -> Measurement:
    speedup = rate.median / base_rate.median
    low, high = (1.0, 1.0) if point is base else stats.ratio_interval(rate.samples, base_rate.samples, seed=seed)
    scale = point.ranks / base.ranks
    seconds, share = step_seconds([timing for repetition in point.repetitions for timing in repetition.ranks])
    return Measurement(
        engine=point.engine,
        ranks=point.ranks,
        nodes=point.nodes,
        mode=point.mode,
        recipe=point.recipe,
        input=point.input,
        global_batch=point.global_batch,
        micro_batch=point.micro_batch,
        threads=point.threads,
        cores=point.cores,
        images_per_s=rate,
        speedup=speedup,
        speedup_interval=(low, high),
        efficiency=speedup / scale,
        efficiency_interval=(low / scale, high / scale),
        base_ranks=base.ranks,
        step_seconds=seconds,
        communication_share=share,
        allreduce_bytes=max(each.allreduce_bytes for each in point.repetitions),
        epoch_images=point.epoch_images,
        repetitions=list(point.repetitions),
    )


def _rates_of(point: Point, seed: int) -> Interval:
    try:
        return stats.rate_interval([repetition.images_per_s for repetition in point.repetitions], seed=seed)
    except RecordError as error:
        raise RecordError(f"{point.name}: {error.received}", error.expected, error.fix) from None


def _refuse_twins(points: Sequence[Point]) -> None:
    seen: set[tuple[str, str, str, str, int, int]] = set()
    for point in points:
        key = (*point.study, point.ranks, point.nodes)
        if key in seen:
            raise RecordError(
                f"twice {point.name}",
                "one point with all its repetitions",
                "put the repetitions of a configuration into one point",
            )
        seen.add(key)


_FIX = "measure again with `hpcdl bench scaling`"
