"""The learning rate of each update: a pure function of the update's number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hpcdl.config.schema import ScheduleConfig


def learning_rate(
    schedule: ScheduleConfig, base: float, global_batch: int, update: int, epoch_updates: int, updates: int
) -> float:
    """The rate of an update: growth to the peak, then the schedule's own fall.

    Args:
        schedule: the recipe's.
        base: the optimizer's own rate.
        global_batch: images an update.
        update: from 0.
        epoch_updates: updates an epoch.
        updates: updates of the whole run.
    """
    top = peak(schedule, base, global_batch)
    warmup = schedule.warmup_epochs * epoch_updates
    if update < warmup:
        return warm_up(_start(schedule, base, top), top, (update + 1) / warmup)
    if schedule.name == "constant":
        return top
    if schedule.name == "step":
        return top * steps(schedule.milestones, schedule.factor, update, epoch_updates)
    final = schedule.final_factor * top if schedule.name == "one-cycle" else 0.0
    return cosine(top, final, (update - warmup) / max(1.0, updates - warmup))


def peak(schedule: ScheduleConfig, base: float, global_batch: int) -> float:
    """The rate after warm-up, for a batch that is `global_batch / base_batch` times the one that base was chosen for.

    linear: in proportion (Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1). sqrt: in
    proportion to its root, which keeps the variance of a step (Krizhevsky 2014, "One weird trick for
    parallelizing convolutional neural networks"; Hoffer et al. 2017, "Train longer, generalize better").
    """
    ratio = global_batch / schedule.base_batch
    if schedule.scaling == "linear":
        return base * ratio
    if schedule.scaling == "sqrt":
        return base * math.sqrt(ratio)
    return base


def warm_up(start: float, top: float, done: float) -> float:
    """A straight line from start to top (Goyal et al. 2017, section 2.2).

    Args:
        start: rate before the first update.
        top: rate at its end.
        done: share of the warm-up, this update included; the last update of one that ends between two is above 1.
    """
    return start + (top - start) * min(1.0, done)


def cosine(top: float, final: float, done: float) -> float:
    """Half a cosine from top to final (Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts).

    Args:
        top: rate at 0.
        final: rate at 1 and later.
        done: share of the fall before this update.
    """
    return final + (top - final) * (1 + math.cos(math.pi * min(1.0, done))) / 2


def steps(milestones: Sequence[float], factor: float, update: int, epoch_updates: int) -> float:
    """What the milestones that are passed make of the peak, each `factor` (He et al. 2015, section 4.2).

    Args:
        milestones: epochs from the start of the run; one between two updates is moved to the nearer.
        factor: of one milestone.
        update: from 0.
        epoch_updates: updates an epoch.
    """
    return math.prod(factor for milestone in milestones if update >= round(milestone * epoch_updates))


def _start(schedule: ScheduleConfig, base: float, top: float) -> float:
    """Where warm-up starts: Goyal's from the unscaled rate, or from 0 where that is no less than the peak.

    One-cycle's is the rising part of its cycle (Smith 2018, "A disciplined approach to neural network
    hyper-parameters: part 1"). The fall from the peak is half a cosine, as in fastai and PyTorch, in
    place of Smith's second line and tail; the momentum, which he cycles against the rate, stays.
    """
    if schedule.name == "one-cycle":
        return schedule.start_factor * top
    return base if top > base else 0.0
