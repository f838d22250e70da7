"""What limits a forecast, what a change would gain, and where more ranks are waste; all computed by the step model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hpcdl.analysis.forecast import Calibrated
from hpcdl.analysis.stepmodel import Setting

WASTE = 0.5
"""A doubling that adds less than this share of what it would add without any loss is waste."""
REACH = 64
"""Times the most ranks measured: no waste is looked for beyond, where the model would only be guessing."""


@dataclass(frozen=True)
class Change:
    """Something to change, and images/s with it over those without: median and 95 % interval."""

    name: str
    gain: float
    low: float
    high: float


def shares(calibrated: Calibrated, ranks: int) -> dict[str, float]:
    """Where a step's time goes, as shares of it: medians, so they need not add up to 1. Largest first."""
    model = calibrated.parts([ranks])
    both = np.maximum(model.inside + model.between, 1e-300)
    seconds = {
        "compute": model.compute,
        "more ranks on a node": model.parallel + model.sharing,
        "waiting for slower ranks and nodes": model.waiting_ranks + model.waiting_nodes,
        "communication inside nodes": model.exposed * model.inside / both,
        "communication between nodes": model.exposed * model.between / both,
        "what ranks do one after the other": model.serial,
        "input": np.maximum(model.input - model.busy, 0.0),
    }
    found = {name: float(np.median(each / model.step)) for name, each in seconds.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def limit(calibrated: Calibrated, ranks: int) -> tuple[str, float]:
    """The largest share of a step that is not compute."""
    return next(item for item in shares(calibrated, ranks).items() if item[0] != "compute")


def changes(calibrated: Calibrated, ranks: int) -> list[Change]:
    """What each change would gain at a rank count, most first."""
    before = calibrated.parts([ranks]).rates([ranks])
    found = []
    for name, setting in _others(calibrated.setting, ranks):
        after = calibrated.parts([ranks], setting).rates([ranks])
        low, middle, high = np.percentile(after / before, [2.5, 50.0, 97.5])
        found.append(Change(name, float(middle), float(low), float(high)))
    return sorted(found, key=lambda change: -change.gain)


def waste_beyond(calibrated: Calibrated) -> int | None:
    """The rank count from which on every doubling adds less than half of what it would add without loss.

    None: there is none up to 64 times the most ranks measured.
    """
    first, most = calibrated.points[0].ranks, calibrated.points[-1].ranks
    counts = [first]
    while counts[-1] < REACH * most:
        counts.append(2 * counts[-1])
    medians = [each.median for each in calibrated.forecast(counts)]
    worth = [
        count for count, (rate, more) in zip(counts[1:], pairwise(medians), strict=True) if more / rate - 1 >= WASTE
    ]
    beyond = max(worth, default=first)
    return beyond if beyond < counts[-1] else None


def _others(setting: Setting, ranks: int) -> list[tuple[str, Setting]]:
    several = ranks > setting.ranks_per_node
    found = [("the input twice as fast", replace(setting, fed=2.0 * setting.fed))]
    if setting.carried == 1.0:
        found.append(("16-bit compression (engine.compression=fp16)", replace(setting, carried=0.5)))
    if several:
        found.append(("a network between nodes twice as fast", replace(setting, faster=2.0 * setting.faster)))
    whose = "a rank" if setting.global_batch is None else "of all ranks"
    found.append((f"twice the batch {whose}", replace(setting, batches=2.0 * setting.batches)))
    if setting.bytes is not None:
        sizes = [factor * setting.bucket_bytes for factor in (0.25, 4.0)]
        found += [
            (f"fusion in buckets of {size / 2**20:.0f} MiB", replace(setting, bucket_bytes=size)) for size in sizes
        ]
    return found
