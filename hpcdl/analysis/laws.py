"""Three laws of scaling, as speedups over one rank, and their fits to measured rates.

They know nothing of nodes or networks: what they are good for is to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hpcdl.errors import RecordError

Array: TypeAlias = npt.NDArray[np.float64]


def amdahl(ranks: npt.ArrayLike, serial: float) -> Array:
    """Speedup of a fixed problem of which the share `serial` (0 to 1) stays on one rank (Amdahl 1967)."""
    p = np.asarray(ranks, dtype=np.float64)
    return 1.0 / (serial + (1.0 - serial) / p)


def gustafson(ranks: npt.ArrayLike, serial: float) -> Array:
    """Speedup of a problem that grows with the ranks; `serial` is a share of the time on p ranks (Gustafson 1988)."""
    p = np.asarray(ranks, dtype=np.float64)
    return p - serial * (p - 1.0)


def usl(ranks: npt.ArrayLike, contention: float, coherency: float) -> Array:
    """Speedup p / (1 + σ(p - 1) + κp(p - 1)): the Universal Scalability Law (Gunther 1993), Amdahl's with κ = 0."""
    p = np.asarray(ranks, dtype=np.float64)
    return p / (1.0 + contention * (p - 1.0) + coherency * p * (p - 1.0))


@dataclass(frozen=True)
class Law:
    """A fitted law.

    Attributes:
        name: amdahl, gustafson or usl.
        one: images/s of one rank.
        parameters: serial share, or contention and coherency.
    """

    name: str
    one: float
    parameters: tuple[float, ...]

    def speedup(self, ranks: npt.ArrayLike) -> Array:
        """Over one rank."""
        return LAWS[self.name][0](ranks, *self.parameters)

    def rate(self, ranks: npt.ArrayLike) -> Array:
        """Images/s of all ranks together."""
        return self.one * self.speedup(ranks)


LAWS: dict[str, tuple[Callable[..., Array], tuple[float, ...]]] = {
    "amdahl": (amdahl, (1.0,)),
    "gustafson": (gustafson, (1.0,)),
    "usl": (usl, (1.0, 1.0)),
}
"""Each law with the upper ends of its parameters, whose lower ends are 0."""


def fit(name: str, ranks: Sequence[int], rates: Sequence[float]) -> Law:
    """Fits a law and the rate of one rank by least squares of relative errors, with parameters that are not negative.

    Args:
        name: amdahl, gustafson or usl.
        ranks: rank counts, each once.
        rates: images/s of all ranks together.

    Raises:
        RecordError: fewer rank counts than the law has unknowns.
    """
    from scipy.optimize import least_squares

    law, upper = LAWS[name]
    unknowns = 1 + len(upper)
    if len(set(ranks)) < unknowns:
        raise RecordError(
            f"{len(set(ranks))} rank counts for the law of {name}",
            f"{unknowns} or more, as many as it has unknowns",
            "measure more rank counts",
        )
    p, measured = np.asarray(ranks, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    base = float(np.max(measured / p))

    def residuals(unknown: Array) -> Array:
        return np.asarray(unknown[0] * base * law(p, *unknown[1:]) / measured - 1.0, dtype=np.float64)

    # From several starts: the parameters differ by orders of magnitude, and a bound is a local minimum.
    starts = [[1.0, *(start * end for end in upper)] for start in (1e-4, 1e-2, 0.3)]
    bounds = ([0.0] * unknowns, [np.inf, *upper])
    found = [least_squares(residuals, start, bounds=bounds, x_scale="jac", xtol=1e-12, ftol=1e-12) for start in starts]
    best = min(found, key=lambda each: float(each.cost)).x
    return Law(name, float(best[0]) * base, tuple(float(value) for value in best[1:]))
