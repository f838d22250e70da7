"""The report in at most five sentences; every figure in them stands in a table too."""

from __future__ import annotations

from collections.abc import Sequence

from hpcdl.analysis.scaling import imbalance, oversubscribed, parted
from hpcdl.records import Measurement, StepSeconds
from hpcdl.report import text
from hpcdl.report.pairs import SYNTHETIC
from hpcdl.report.series import Series
from hpcdl.report.used import used

GOOD = 0.90
"""From this efficiency on, nothing is said to limit."""
BUSY = 70.0
"""Percent of the time: GPUs that are busy for less count as unused hardware."""
FREE = 0.8
"""Where a compute thread has less than this share of the processor time that the base's had, something else has it."""
NOTABLE = 0.05
"""A part of the step below this share is no limit."""


def summary(series: Sequence[Series]) -> list[str]:
    """What was measured, what was gained, how sure that is and what limits it."""
    head = headline(series)
    sentences = [_base(head), _gain(head), _others(head, series), _limit(head), _images(series)]
    return [sentence for sentence in sentences if sentence]


def headline(series: Sequence[Series]) -> Series:
    """The series that the summary is about: of the first recipe the widest, then that of `preferred`."""
    return preferred(series)[0]


def preferred(series: Sequence[Series]) -> list[Series]:
    """The series, the headline first; synthetic images, which leave work out, come after those that were read."""

    def rank(one: Series) -> tuple[bool, bool, int, bool, float]:
        read = one.input != SYNTHETIC
        wide = one.top.ranks > one.base.ranks
        return one.recipe == series[0].recipe, wide, one.top.ranks, read, one.top.images_per_s.median

    return sorted(series, key=rank, reverse=True)


def _base(head: Series) -> str:
    base = head.base
    role = "; this is the base" if head.top.ranks > base.ranks else ""
    return (
        f"With {text.count(base.ranks, 'rank')}, {head.setting} trains {text.rate(base.images_per_s)} images/s{role}."
    )


def _gain(head: Series) -> str:
    base, top = head.base, head.top
    if top.ranks == base.ranks:
        return "Only one rank count was measured, so there is no speedup or efficiency to report."
    with_interval = len(top.images_per_s.samples) > 1 and len(base.images_per_s.samples) > 1
    span = f" {text.bracket(*(text.ratio(end) for end in top.speedup_interval))}" if with_interval else ""
    sure = f" {text.bracket(*(f'{100.0 * end:.1f}' for end in top.efficiency_interval))}" if with_interval else ""
    told = (
        f"With {text.count(top.ranks, 'rank')} it trains {text.rate(top.images_per_s)} images/s, "
        f"{text.ratio(top.speedup)}{span} times the base, a parallel efficiency of {text.percent(top.efficiency)}{sure}"
    )
    return f"{told}{_certainty(base, top)}."


def _certainty(base: Measurement, top: Measurement) -> str:
    apart = parted(base.images_per_s, top.images_per_s)
    if apart is None:
        return "; a single repetition gives no interval, so this may be chance"
    return (
        "; the 95 % intervals do not overlap"
        if apart
        else ("; the 95 % intervals overlap, so the two are not distinguishable")
    )


def _others(head: Series, series: Sequence[Series]) -> str:
    others = [one for one in series if one is not head]
    peers = [
        (one, point)
        for one in others
        for point in one.points
        if (one.recipe, one.mode, one.input) == (head.recipe, head.mode, head.input) and point.ranks == head.top.ranks
    ]
    if len(others) == 1 and len(peers) == 1:
        return _peer(head, peers[0][0].engine, peers[0][1])
    wide = [one.top for one in others if one.top.ranks > one.base.ranks]
    if not wide:
        return ""
    gains = sorted(wide, key=lambda point: point.speedup)
    reach = text.ratio(gains[0].speedup)
    if len(gains) > 1:
        reach += f" to {text.ratio(gains[-1].speedup)}"
    who = "At its most ranks, each other series" if len(wide) > 1 else "The other series"
    return f"{who} reaches {reach} times its own base."


def _peer(head: Series, engine: str, point: Measurement) -> str:
    apart = parted(head.top.images_per_s, point.images_per_s)
    if apart is None:
        verdict = f"a single repetition does not tell whether it differs from {head.engine}"
    elif apart:
        word = "slower" if point.images_per_s.median < head.top.images_per_s.median else "faster"
        verdict = f"{word} than {head.engine}, and the 95 % intervals do not overlap"
    else:
        verdict = f"not distinguishable from {head.engine}, for the 95 % intervals overlap"
    ranks = text.count(point.ranks, "rank")
    return f"In the same setting {engine} trains {text.rate(point.images_per_s)} images/s with {ranks}: {verdict}."


def _limit(head: Series) -> str:
    top = head.top
    told = (
        f"With {text.count(top.ranks, 'rank')}, {text.percent(top.communication_share)} of the step time is "
        "communication that compute does not hide, and "
    )
    return told + limit(head.base, top) + "."


def limit(base: Measurement, top: Measurement) -> str:
    """What costs `top` most of what it lost against ideal scaling from `base`, in words.

    Ideal, a part of the step grows with the images a rank has in it: not at all in weak scaling, down to
    1/ranks in strong scaling. What is beyond that is lost.
    """
    if top.ranks == base.ranks:
        return _largest_wait(top) + _unused(top)
    if top.efficiency >= GOOD:
        return "no single limit stands out" + _unused(top)
    share = (top.global_batch / top.ranks) / (base.global_batch / base.ranks)
    now, then = top.step_seconds, base.step_seconds
    lost = {name: getattr(now, name) - share * getattr(then, name) for name in _LIMITS}
    part = max(lost, key=lambda name: lost[name])
    if lost[part] <= 0.0:
        return f"what limits is a few long steps: 95 % take up to {text.milliseconds(now.p95)} ms{_median_step(now)}"
    change = _change(getattr(then, part), getattr(now, part), share)
    if part == "compute":
        what = "fixed costs, as compute" if share < 1.0 and not _crowded(base, top) else "compute"
        return f"what limits is {what}: {change}{_why_compute(base, top, share)}"
    if part == "communication" and _waited(top) >= 0.5 * lost[part]:
        uneven = text.ratio(imbalance(top))
        told = f"the slowest rank takes {uneven} times the median rank's time, and the others wait for it"
        return f"what limits is imbalance: {told} in the communication, {change}{_crowd(top)}"
    return f"what limits is {_LIMITS[part]}: {change}{_crowd(top) if part == 'communication' else ''}"


_LIMITS = {
    "compute": "compute",
    "communication": "communication",
    "input": "a slow stage, the wait for input",
    "other": "fixed costs, the update and Python",
}


def _waited(top: Measurement) -> float:
    """Seconds a step that the median rank waits for the slowest."""
    return max(imbalance(top) - 1.0, 0.0) * (top.step_seconds.median - top.step_seconds.communication)


def _unused(top: Measurement) -> str:
    busy = used(top).gpu_percent
    if busy is not None:
        return (
            "" if busy >= BUSY else f", but hardware is unused: GPUs are busy for {text.quantity(busy)} % of the time"
        )
    threads = top.ranks * top.threads
    if threads >= top.cores:
        return ""
    return f", but hardware is unused: {text.count(threads, 'compute thread')} for {top.cores} cores"


def _median_step(now: StepSeconds) -> str:
    return f", the median is {text.milliseconds(now.median)} ms"


def _change(then: float, now: float, share: float) -> str:
    fewer = ", though a rank has fewer images a step" if share < 1.0 else ""
    return f"{text.milliseconds(now)} ms a step against {text.milliseconds(then)} ms at the base{fewer}"


def _crowded(base: Measurement, top: Measurement) -> bool:
    return oversubscribed(top) or top.threads < base.threads


def _why_compute(base: Measurement, top: Measurement, share: float) -> str:
    if oversubscribed(top):
        return _crowd(top)
    if top.threads < base.threads:
        return f"; each rank has {text.count(top.threads, 'thread')} where the base had {base.threads}"
    if share < 1.0:
        return ""
    before, now = used(base).cpu_percent, used(top).cpu_percent
    if before and now and now / (top.ranks * top.threads) < FREE * before / (base.ranks * base.threads):
        busy = f"{text.quantity(now)} % of a core, where the base had {text.quantity(before)} %"
        return f"; the ranks together had {busy}, so other work or a limit took the rest"
    return "; the records do not say why, shared memory bandwidth and clock rates are the usual reasons"


def _crowd(top: Measurement) -> str:
    if not oversubscribed(top):
        return ""
    return f"; {top.ranks * top.threads} compute threads share {text.count(top.cores, 'core')} (oversubscribed)"


def _largest_wait(top: Measurement) -> str:
    seconds = top.step_seconds
    if max(seconds.input, seconds.communication) < NOTABLE * seconds.median:
        return "compute takes nearly all of the step"
    if seconds.input > seconds.communication:
        return f"waiting for input takes {text.milliseconds(seconds.input)} ms of a step"
    return f"communication takes {text.milliseconds(seconds.communication)} ms of a step"


def _images(series: Sequence[Series]) -> str:
    kinds = [kind for kind in dict.fromkeys(one.input for one in series) if kind != "real"]
    if not kinds:
        return ""
    return f"Images: {'; '.join(_KINDS.get(kind, f'{kind} ones are not the data set itself') for kind in kinds)}."


_KINDS = {
    "synthetic": "synthetic ones are random pixels in memory, without reading, decoding or augmenting",
    "stand-in": "stand-ins were made for the data set, and are not it",
}
