"""Loss, accuracy and images/s over a stretch of steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Meter:
    """Adds up [loss, hits, images] of steps, which are over all ranks already, and their seconds."""

    def __init__(self) -> None:
        self._sums = np.zeros(3)
        self.seconds = 0.0

    @property
    def images(self) -> int:
        """Images so far, over all ranks."""
        return int(self._sums[2])

    def add(self, sums: npt.NDArray[np.floating[Any]], seconds: float) -> None:
        """Adds steps, one after the other: (steps, 3), or (3,) of one."""
        self._sums = np.add.reduce(np.vstack([self._sums, sums]))
        self.seconds += seconds

    def means(self) -> dict[str, float]:
        """Mean loss and accuracy over the images, and images/s over the steps' seconds."""
        loss, hits, images = self._sums.tolist()
        return {"loss": loss / images, "accuracy": hits / images, "images_per_s": images / self.seconds}

    def as_dict(self) -> dict[str, Any]:
        """For JSON, from which `of` makes an equal meter."""
        return {"sums": self._sums.tolist(), "seconds": self.seconds}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Meter:
        """The inverse of `as_dict`."""
        meter = cls()
        meter.add(np.array(state["sums"]), state["seconds"])
        return meter
