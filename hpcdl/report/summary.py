"""The report in at most five sentences; every figure in them stands in a table too."""

from __future__ import annotations

from collections.abc import Sequence

from hpcdl.analysis.scaling import imbalance, oversubscribed, parted
from hpcdl.records import Measurement, StepSeconds
from hpcdl.report import text
from hpcdl.report.series import Series

EVEN = 1.10
"""Up to this slowest rank over median rank, ranks count as even."""
GOOD = 0.90
"""From this efficiency on, nothing is said to limit."""
NOTABLE = 0.05
"""A part of the step below this share is no limit."""


def summary(series: Sequence[Series]) -> list[str]:
    """What was measured, what was gained, how sure that is and what limits it."""
    head = headline(series)
    sentences = [_base(head), _gain(head), _others(head, series), _limit(head), _images(series)]
    return [sentence for sentence in sentences if sentence]


def headline(series: Sequence[Series]) -> Series:
    """The series that the summary is about: of the first recipe, the widest, then the fastest at its widest."""
    first = [one for one in series if one.recipe == series[0].recipe]
    return max(first, key=lambda one: (one.top.ranks > one.base.ranks, one.top.ranks, one.top.images_per_s.median))


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
    told = (
        f"With {text.count(top.ranks, 'rank')} it trains {text.rate(top.images_per_s)} images/s, "
        f"{text.ratio(top.speedup)}{span} times the base, a parallel efficiency of {text.percent(top.efficiency)}"
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
    return (
        f"At its most ranks, each of the other {len(wide)} series reaches {reach} times its own base."
        if len(wide) > 1
        else f"The other series reaches {reach} times its own base."
    )


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
        return _largest_wait(top)
    if top.efficiency >= GOOD:
        return "no single limit stands out"
    share = (top.global_batch / top.ranks) / (base.global_batch / base.ranks)
    now, then = top.step_seconds, base.step_seconds
    lost = {
        "compute": now.compute - share * then.compute,
        "communication": now.communication - share * then.communication,
        "input": now.input - share * then.input,
    }
    part = max(lost, key=lambda name: lost[name])
    if lost[part] <= 0.0:
        return f"what limits is a few long steps: 95 % take up to {text.milliseconds(now.p95)} ms{_median_step(now)}"
    if part == "compute":
        return f"what limits is compute: {_change(then.compute, now.compute, share)}{_why_compute(base, top)}"
    if part == "input":
        return f"what limits is the wait for input: {_change(then.input, now.input, share)}"
    return f"what limits is communication: {_change(then.communication, now.communication, share)}{_why_waiting(top)}"


def _median_step(now: StepSeconds) -> str:
    return f", the median is {text.milliseconds(now.median)} ms"


def _change(then: float, now: float, share: float) -> str:
    fewer = ", though a rank has fewer images a step" if share < 1.0 else ""
    return f"{text.milliseconds(now)} ms a step against {text.milliseconds(then)} ms at the base{fewer}"


def _why_compute(base: Measurement, top: Measurement) -> str:
    threads = top.ranks * top.threads
    if oversubscribed(top):
        return f"; {threads} compute threads share {text.count(top.cores, 'core')} (oversubscribed)"
    if threads < base.ranks * base.threads * top.ranks / base.ranks:
        return f"; each rank has {text.count(top.threads, 'thread')} where the base had {base.threads}"
    return "; the records do not say why, shared memory bandwidth and clock rates are the usual reasons"


def _why_waiting(top: Measurement) -> str:
    uneven = imbalance(top)
    words = []
    if uneven > EVEN:
        words.append(f"it holds the wait for the slowest rank, {text.ratio(uneven)} times the median rank's time")
    if oversubscribed(top):
        words.append(
            f"{top.ranks * top.threads} compute threads share {text.count(top.cores, 'core')} (oversubscribed)"
        )
    return f"; {', and '.join(words)}" if words else ""


def _largest_wait(top: Measurement) -> str:
    seconds = top.step_seconds
    if max(seconds.input, seconds.communication) < NOTABLE * seconds.median:
        return "compute takes nearly all of the step"
    if seconds.input > seconds.communication:
        return f"waiting for input takes {text.milliseconds(seconds.input)} ms of a step"
    return f"communication takes {text.milliseconds(seconds.communication)} ms of a step"


def _images(series: Sequence[Series]) -> str:
    inputs = list(dict.fromkeys(one.input for one in series))
    if "real" not in inputs:
        return f"The images were {text.listing(inputs)} stand-ins, not the data set itself."
    if inputs == ["real"]:
        return ""
    others = text.listing([word for word in inputs if word != "real"])
    return f"Series with {others} images used stand-ins, not the data set itself."
