"""What data say of unknowns: draws from a posterior, by sequential Monte Carlo.

Del Moral, Doucet, Jasra 2006, "Sequential Monte Carlo samplers": draws from the prior are taken to the posterior
through powers of the likelihood; each power is chosen so that half of the draws still count, then draws are resampled
and moved by a random walk of the covariance that they have (Metropolis). Small numbers of unknowns and cheap
likelihoods are what it is for; it needs no derivative and does not mind several modes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
MOVES = 48
"""Steps of the random walk at each power. With 12, forecasts of tables that two explanations fit differed by 8 %
(standard deviation over seeds); with 48, which takes 0.3 s, by 1 %, and in one of six by 3 %."""


def draw(likelihood: Callable[[Array], Array], unknowns: int, *, draws: int, seed: int) -> Array:
    """Draws from the posterior of unknowns whose prior is standard normal each.

    Args:
        likelihood: log-likelihood of each row of an array [draws, unknowns]; -inf where impossible.
        unknowns: how many.
        draws: how many rows are wanted.
        seed: the same seed gives the same draws.

    Returns:
        [draws, unknowns], all with the same weight.
    """
    random = np.random.default_rng(seed)
    values = random.standard_normal((draws, unknowns))
    logs, power = likelihood(values), 0.0
    while power < 1.0:
        step = _step(logs, 1.0 - power)
        power += step
        places = _resample(step * (logs - logs.max()), random)
        values, logs = values[places], logs[places]
        # 2.38²/d is the random walk's best scale for normal targets (Roberts, Gelman, Gilks 1997).
        covariance = np.cov(values.T).reshape(unknowns, unknowns) * 2.38**2 / unknowns
        root = np.linalg.cholesky(covariance + 1e-12 * np.eye(unknowns))
        for _ in range(MOVES):
            moved = values + random.standard_normal(values.shape) @ root.T
            found = likelihood(moved)
            gain = power * (found - logs) + 0.5 * np.sum(values**2 - moved**2, axis=1)
            taken = np.log(random.random(draws)) < gain
            values[taken], logs[taken] = moved[taken], found[taken]
    return values


def _step(logs: Array, most: float) -> float:
    """How far the power may grow so that the effective number of draws stays at half, by bisection."""
    if _effective(most * (logs - logs.max())) >= 0.5:
        return most
    low, high = 0.0, most
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _effective(middle * (logs - logs.max())) >= 0.5 else (low, middle)
    return max(low, 1e-6)


def _effective(logs: Array) -> float:
    """Kish's effective share of weighted draws: (sum w)² / sum w² / count."""
    weights = np.exp(logs)
    return float(weights.sum() ** 2 / np.sum(weights**2) / len(weights))


def _resample(logs: Array, random: np.random.Generator) -> npt.NDArray[np.intp]:
    """Places of draws in proportion to their weights, by systematic resampling."""
    share = np.cumsum(np.exp(logs))
    points = (random.random() + np.arange(len(logs))) / len(logs)
    return np.minimum(np.searchsorted(share / share[-1], points), len(logs) - 1)
