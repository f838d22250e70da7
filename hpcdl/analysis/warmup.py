"""How many steps of a start are warm-up: found from its step times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpcdl.errors import RecordError

LEAST = 2
"""The first step is compiled, the second fills caches and buffers."""
WINDOW = 5
FEWEST = 4
"""Steps of which half are LEAST."""
LOW, HIGH = 10.0, 90.0


def warmup_steps(seconds: Sequence[float]) -> int:
    """The first step from which on step times are stationary.

    The second half of the steps is taken for stationary, as White (1997, "An effective truncation heuristic for bias
    reduction in simulation output") cuts off no more than half. The warm-up ends with the first step, from LEAST on,
    which is within the range of the second half's, and with its four successors has a median between the 10th and
    the 90th percentile of the second half's. Of stationary, independent steps the median of five is there in 98 % of
    cases (binomial), and a step in the range of n others in (n - 1) / (n + 1). A single slow step later on, which
    belongs to what is measured, is no reason to cut.

    Args:
        seconds: of each step, in their order.

    Returns:
        From LEAST to half of the steps.

    Raises:
        RecordError: fewer than FEWEST steps, or a time that is not above zero.
    """
    steps = np.asarray(seconds, dtype=np.float64)
    if len(steps) < FEWEST:
        raise RecordError(f"{len(steps)} steps", f"{FEWEST} or more, to find the warm-up", "raise --steps")
    if not (np.isfinite(steps) & (steps > 0.0)).all():
        raise RecordError(f"a step of {steps.min():g} s", "finite times above zero", "measure again")
    half = len(steps) // 2
    later = steps[half:]
    low, high = np.percentile(later, [LOW, HIGH])
    for first in range(LEAST, half):
        within = later.min() <= steps[first] <= later.max()
        if within and low <= np.median(steps[first : first + WINDOW]) <= high:
            return first
    return half
