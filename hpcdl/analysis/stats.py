"""Statistics of repeated measurements, after Hoefler and Belli, "Scientific Benchmarking of Parallel
Computing Systems" (SC15): medians with intervals that assume no distribution, harmonic means for rates,
and never an average of ratios.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hpcdl.errors import RecordError
from hpcdl.records import Interval

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 0
Array: TypeAlias = npt.NDArray[np.float64]


def median(samples: Sequence[float]) -> float:
    """The median, in the samples' unit.

    Raises:
        RecordError: no sample, or one that is not finite.
    """
    return float(np.median(_finite(samples)))


def percentile(samples: Sequence[float], percent: float) -> float:
    """The value below which `percent` (0 to 100) of the samples lie, interpolated linearly.

    Raises:
        RecordError: no sample, or one that is not finite.
    """
    return float(np.percentile(_finite(samples), percent))


def harmonic_mean(rates: Sequence[float]) -> float:
    """The mean of rates over equal work: total work over total time (Hoefler and Belli, rule 3).

    Raises:
        RecordError: no rate, or one that is not finite and above zero.
    """
    return float(len(rates) / np.sum(1.0 / _rates(rates)))


def median_interval(
    samples: Sequence[float], *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval:
    """The median with its percentile-bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    The same samples and seed give the same interval. A single sample gives low = high = median, which is
    no interval: whoever shows it says so. Up to five samples the interval is their range, which holds the
    true median with probability 1 - 2^(1-n): 93.75 % for five, 75 % for three.

    Raises:
        RecordError: no sample, or one that is not finite.
    """
    values = _finite(samples)
    low, high = _middle(_resampled_medians(values, resamples, np.random.default_rng(seed)), confidence)
    return Interval(median=float(np.median(values)), low=low, high=high, samples=values.tolist())


def rate_interval(rates: Sequence[float], *, seed: int = SEED) -> Interval:
    """`median_interval` of rates.

    Raises:
        RecordError: no rate, or one that is not finite and above zero.
    """
    return median_interval(_rates(rates).tolist(), seed=seed)


def ratio_interval(
    numerator: Sequence[float],
    denominator: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[float, float]:
    """Bootstrap interval of median(numerator) / median(denominator), two lists measured independently.

    Both lists are resampled, so the base's own noise is in the interval of a speedup.

    Raises:
        RecordError: a list is empty, or holds a rate that is not finite and above zero.
    """
    above, below = _rates(numerator), _rates(denominator)
    random = np.random.default_rng(seed)
    ratios = _resampled_medians(above, resamples, random) / _resampled_medians(below, resamples, random)
    return _middle(ratios, confidence)


def _resampled_medians(values: Array, resamples: int, random: np.random.Generator) -> Array:
    picks = random.integers(0, len(values), size=(resamples, len(values)))
    return np.asarray(np.median(values[picks], axis=1), dtype=np.float64)


def _middle(values: Array, confidence: float) -> tuple[float, float]:
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


def _finite(samples: Sequence[float]) -> Array:
    values = np.asarray(samples, dtype=np.float64)
    if values.size == 0:
        raise RecordError("no samples", "at least one measured value", _FIX)
    if not np.isfinite(values).all():
        bad = float(values[~np.isfinite(values)][0])
        raise RecordError(f"a sample of {bad}", "finite values", _FIX)
    return values


def _rates(rates: Sequence[float]) -> Array:
    values = _finite(rates)
    if (values <= 0.0).any():
        raise RecordError(f"a rate of {float(values.min()):g}", "rates above zero", _FIX)
    return values


_FIX = "measure again with `hpcdl bench scaling`"
