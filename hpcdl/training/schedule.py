"""The learning rate of each update: a pure function of the update's number."""

from __future__ import annotations

import math

from hpcdl.config.schema import ScheduleConfig


def learning_rate(
    schedule: ScheduleConfig, base: float, global_batch: int, update: int, epoch_updates: int, updates: int
) -> float:
    """The rate of an update.

    Warm-up grows linearly from base to the scaled peak (Goyal et al. 2017, section 2.2); cosine
    then falls to 0 at the last update (Loshchilov and Hutter 2017, without restarts).

    Args:
        schedule: the recipe's.
        base: the optimizer's own rate.
        global_batch: images an update.
        update: from 0.
        epoch_updates: updates an epoch.
        updates: updates of the whole run.
    """
    peak = base * global_batch / schedule.base_batch if schedule.scaling == "linear" else base
    warmup = schedule.warmup_epochs * epoch_updates
    if update < warmup:
        return base + (peak - base) * (update + 1) / warmup if peak > base else peak * (update + 1) / warmup
    if schedule.name == "constant":
        return peak
    done = (update - warmup) / max(1.0, updates - warmup)
    return peak * (1 + math.cos(math.pi * min(1.0, done))) / 2
