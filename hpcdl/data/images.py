"""Labelled images: in memory, or compressed where they are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MEMORY = "memory"
"""The path of a set of random pixels, which was read nowhere."""
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Images:
    """One split of a data set, in memory.

    Attributes:
        pixels: (samples, height, width, channels), uint8.
        labels: (samples,), int32, from 0.
    """

    pixels: npt.NDArray[np.uint8]
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, place: int) -> str:
        """What a message calls an image."""
        return f"image {place}"


@dataclass(frozen=True)
class Encoded:
    """One split of a data set whose images are read when they are needed.

    Attributes:
        labels: (samples,), int32, from 0.
        read: places (n,), int64 -> the stored bytes of each, in that order. Raises DataError, which names
            the file that it could not read.
        name: place -> what a message calls the image: a path, or a shard and the record in it.
        shapes: None where the bytes are image files (JPEG, PNG …), which may have any size; (samples, 3), int32,
            height, width and channels, where they are uint8 pixels row by row.
        paths: places (n,) int64 -> the absolute path of each, where an image is a file of its own, which the graph
            then reads by itself; None where it is not.
    """

    labels: Labels
    read: Callable[[npt.NDArray[np.int64]], list[bytes]]
    name: Callable[[int], str]
    shapes: npt.NDArray[np.int32] | None = None
    paths: Callable[[npt.NDArray[np.int64]], list[bytes]] | None = None

    def __len__(self) -> int:
        return len(self.labels)


Split = Images | Encoded


@dataclass(frozen=True)
class ImageSet:
    """A data set with its training and test split."""

    name: str
    train: Split
    test: Split
    """May be empty."""
    classes: tuple[str, ...]
    path: str
    """Where it was read."""
    synthetic: bool
    """True for a stand-in that hpcdl made, or random pixels, False for the real images."""
    mean: tuple[float, ...]
    """Channel means of the real set's training pixels in [0, 1], for normalize: standard; one a channel."""
    std: tuple[float, ...]
    """Channel deviations of the real set's training pixels in [0, 1]; one a channel."""

    @property
    def origin(self) -> str:
        """A sentence for reports."""
        kind = "synthetic stand-in for" if self.synthetic else "real"
        if self.path == MEMORY:
            kind = "random pixels in place of"
        return f"{kind} {self.name}: {len(self.train)} training and {len(self.test)} test images"
