"""A forecast as a program reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpcdl.analysis import advice, laws
from hpcdl.analysis.forecast import Calibrated
from hpcdl.analysis.simulate import machine_of, simulate
from hpcdl.errors import RecordError


def answer(
    calibrated: Calibrated,
    counts: Sequence[int],
    *,
    images: float | None,
    epochs: float | None,
    steps: int,
    with_laws: bool = False,
) -> dict[str, Any]:
    """What the command answers as JSON.

    Args:
        calibrated: the model with the points that it was calibrated on.
        counts: rank counts to forecast; limits and changes are told at the largest.
        images: of an epoch, for the time that it takes.
        epochs: of the training.
        steps: to simulate; 0 for none.
        with_laws: also what each law of scaling, fitted to the same points, says; None where they are too few for it.
    """
    found = []
    fitted = _laws(calibrated) if with_laws else {}
    for each in calibrated.forecast(counts):
        one: dict[str, Any] = {
            "ranks": each.ranks,
            "images_per_s": {"median": each.median, "low": each.low, "high": each.high},
            "efficiency": each.efficiency,
            "beyond_measured": max(1.0, each.ranks / calibrated.points[-1].ranks),
        }
        if images:
            one["epoch_seconds"] = images / each.median
            one["training_seconds"] = images * epochs / each.median if epochs else None
        if steps:
            machine, batch = machine_of(calibrated, each.ranks)
            one["simulated_images_per_s"] = batch * steps / float(simulate(machine, each.ranks, steps).sum())
        if with_laws:
            one["laws"] = {name: None if law is None else float(law.rate(each.ranks)) for name, law in fitted.items()}
        found.append(one)
    top = max(counts)
    name, share = advice.limit(calibrated, top)
    return {
        "forecast": found,
        "at": top,
        "limit": {"name": name, "share": share},
        "shares": advice.shares(calibrated, top),
        "changes": [
            {"name": each.name, "gain": {"median": each.gain, "low": each.low, "high": each.high}}
            for each in advice.changes(calibrated, top)
        ],
        "waste_beyond": advice.waste_beyond(calibrated),
        "waste_looked_for_up_to": advice.REACH * calibrated.points[-1].ranks,
    }


def _laws(calibrated: Calibrated) -> dict[str, laws.Law | None]:
    """Each law with the rate of one rank, fitted to the points; None: they are too few."""
    points = calibrated.points
    found: dict[str, laws.Law | None] = {}
    for name in laws.LAWS:
        try:
            found[name] = laws.fit(name, [point.ranks for point in points], [point.rate for point in points])
        except RecordError:
            found[name] = None
    return found
