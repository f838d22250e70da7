"""Labelled images in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Images:
    """One split of a data set.

    Attributes:
        pixels: (samples, height, width, channels), uint8.
        labels: (samples,), int32, from 0.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSet:
    """A data set with its training and test split."""

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    path: str
    """Where it was read."""
    synthetic: bool
    """True for a stand-in that hpcdl made, False for the real images."""
    mean: tuple[float, ...]
    """Channel means of the real set's training pixels in [0, 1], for normalize: standard."""
    std: tuple[float, ...]
    """Channel deviations of the real set's training pixels in [0, 1]."""

    @property
    def origin(self) -> str:
        """A sentence for reports."""
        kind = "synthetic stand-in for" if self.synthetic else "real"
        return f"{kind} {self.name}: {len(self.train)} training and {len(self.test)} test images"
