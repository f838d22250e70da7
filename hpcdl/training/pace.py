"""How many updates one call of TensorFlow makes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hpcdl.engine.base import Engine

CALL_SECONDS = 0.1
"""What a call may take: a hundred times what it costs to make it, and short for one who asks training to stop."""
MEASURED = range(4, 12)
"""Updates, of those since the start, whose seconds tell how long one takes; the ones before are slower."""


class Pace:
    """As many as asked for; auto: as many as take CALL_SECONDS, which rank 0 finds out and tells the others.

    Args:
        engine: the ranks.
        asked: `train.steps_per_execution`.
    """

    def __init__(self, engine: Engine, asked: int | Literal["auto"]) -> None:
        self._engine, self._left = engine, MEASURED.stop if asked == "auto" else 0
        self.most = 1 if asked == "auto" else asked
        """Updates of the next call, at most; the same on every rank."""
        self._fastest = CALL_SECONDS

    def add(self, seconds: float) -> None:
        """An update was made; every rank tells of each."""
        if not self._left:
            return
        self._left -= 1
        if MEASURED.stop - self._left > MEASURED.start:
            self._fastest = min(self._fastest, seconds)
        if not self._left:
            found = np.array([CALL_SECONDS / max(self._fastest, 1e-5)], np.int64)
            self.most = max(1, int(self._engine.broadcast_array(found, 0)[0]))
