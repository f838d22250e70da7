"""From a few measured rank counts to those that nobody had: calibration of the step model, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hpcdl.analysis import posterior
from hpcdl.analysis.priors import PLACE, UNKNOWNS
from hpcdl.analysis.stepmodel import Parts, Setting, parts
from hpcdl.errors import RecordError

Array: TypeAlias = npt.NDArray[np.float64]
DRAWS = 1000
SEED = 0
DRIFT = 0.05
"""Relative deviation of the model itself for each doubling beyond the most ranks measured. Chosen after looking:
intervals without it hold 82 % of 201 held-out published points, with it 93 % (benchmarks/README.md)."""
SHARE_ERROR, SHARE_FACTOR = 0.02, 0.2
"""How well a measured share of communication must be met: 2 % of a step, and a fifth of itself."""


@dataclass(frozen=True)
class Point:
    """A measured rank count.

    Attributes:
        ranks: how many.
        rate: images/s of all together.
        error: relative standard error of the rate, where it was repeated; else 0.
        communication: share of a step in exposed communication and waiting for slower ranks, where it was measured.
    """

    ranks: int
    rate: float
    error: float = 0.0
    communication: float | None = None


@dataclass(frozen=True)
class Forecast:
    """Images/s of all ranks: the median, and the interval that holds 95 % of what model and table allow."""

    ranks: int
    median: float
    low: float
    high: float
    efficiency: float
    """Images/s a rank over those of the fewest ranks measured."""


@dataclass(frozen=True)
class Calibrated:
    """The model with draws of its unknowns that fit the points."""

    setting: Setting
    points: Sequence[Point]
    values: Array

    @property
    def base(self) -> float:
        """Seconds of an image on one rank at the fewest ranks."""
        return self.points[0].ranks / self.points[0].rate

    def parts(self, ranks: Sequence[int], setting: Setting | None = None) -> Parts:
        """Where a step's seconds go, here or where something else is known."""
        return parts(self.values, ranks, setting or self.setting, self.points[0].ranks, self.base)

    def spread(self, name: str, draw: int) -> float:
        """A draw of `rank_spread` or `node_spread`, or what was measured of it."""
        if name == "rank_spread" and self.setting.rank_spread is not None:
            return self.setting.rank_spread
        return float(UNKNOWNS[PLACE[name]].of(self.values[draw, PLACE[name]]))

    def forecast(self, ranks: Sequence[int]) -> list[Forecast]:
        """The rate at each rank count: what is unknown, how measurements scatter, and what the model may miss."""
        model = self.parts(ranks)
        rates = model.rates(ranks)
        most = rates * model.step / model.compute
        random = np.random.default_rng(SEED)
        beyond = np.log2(np.maximum(np.asarray(ranks) / self.points[-1].ranks, 1.0))
        scatter = _noise(self.values) * random.standard_normal((len(self.values), 1))
        drift = DRIFT * beyond * random.standard_normal((len(self.values), 1))
        # Whatever the model misses, nothing is faster than compute alone.
        drifted = np.minimum(rates * np.exp(drift), most)
        low, high = np.percentile(drifted * np.exp(scatter), [2.5, 97.5], axis=0)
        median = np.median(rates, axis=0)
        ideal = np.asarray(ranks) / self.base
        return [
            Forecast(count, float(median[at]), float(low[at]), float(high[at]), float(median[at] / ideal[at]))
            for at, count in enumerate(ranks)
        ]


def calibrate(points: Sequence[Point], setting: Setting, *, draws: int = DRAWS, seed: int = SEED) -> Calibrated:
    """Draws unknowns of the step model that fit the points.

    Args:
        points: two rank counts or more, each once.
        setting: what is known of the machine.
        draws: how many.
        seed: the same seed gives the same forecast.

    Raises:
        RecordError: fewer than two rank counts.
    """
    points = sorted(points, key=lambda point: point.ranks)
    if len({point.ranks for point in points}) < 2:
        raise RecordError(
            f"{len(points)} rank count{'' if len(points) == 1 else 's'}",
            "two or more: one tells nothing of scaling",
            "measure more, as with `hpcdl bench scaling --ranks 1,2,4`",
        )
    ranks = [point.ranks for point in points]
    measured = np.log([point.rate for point in points])
    errors = np.array([point.error for point in points])
    base = points[0].ranks / points[0].rate

    shares = np.array([np.nan if point.communication is None else point.communication for point in points])

    def likelihood(values: Array) -> Array:
        model = parts(values, ranks, setting, ranks[0], base)
        spread = np.sqrt(_noise(values) ** 2 + errors**2)
        off = (np.log(model.rates(ranks)) - measured) / spread
        waits = (model.communication - shares) / (SHARE_ERROR + SHARE_FACTOR * shares)
        squares = np.sum(off**2, axis=1) + np.nansum(waits**2, axis=1)
        return np.asarray(-0.5 * squares - np.sum(np.log(spread), axis=1), dtype=np.float64)

    return Calibrated(setting, points, posterior.draw(likelihood, len(UNKNOWNS), draws=draws, seed=seed))


def _noise(values: Array) -> Array:
    return UNKNOWNS[PLACE["noise"]].of(values[:, PLACE["noise"], None])
