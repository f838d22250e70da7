"""Rows for a feed: which samples come when, their random numbers, and what is stored of them. NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcdl.data.images import Encoded
from hpcdl.data.order import Numbers, Share

Row = tuple[npt.NDArray[Any], ...]
Chosen = Callable[[Numbers, int], tuple[Numbers, npt.NDArray[np.float32]]]
"""Places in an epoch, and its number -> the samples there, and their random numbers (n, columns)."""
CHUNK = 8192
"""Samples whose order and random numbers are computed at once."""
BLOCK = 32
"""Stored images that are read at once."""
NONE = -1
"""A sample that is not there."""


def chunks(parts: Sequence[Share], chosen: Chosen, epochs: range, skip: int = 0) -> Iterator[Row]:
    """Samples (n,) of several shares, their random numbers (n, columns), and the shares' ends (shares + 1,).

    Args:
        parts: the shares of an epoch.
        chosen: see Chosen.
        epochs: one after the other.
        skip: shares of the first epoch that are left out.
    """
    whole = _groups(parts)
    for epoch in epochs:
        for group in _groups(parts[skip:]) if skip and epoch == epochs.start else whole:
            places = np.concatenate([np.arange(part.start, part.stop) for part in group])
            yield *chosen(places, epoch), np.cumsum([0] + [part.stop - part.start for part in group])


def _groups(parts: Sequence[Share]) -> list[list[Share]]:
    """The shares that are computed at once."""
    sizes = np.array([part.stop - part.start for part in parts])
    chunk = np.cumsum(sizes) // CHUNK
    return [[parts[place] for place in np.flatnonzero(chunk == number)] for number in np.unique(chunk)]


def blocks(split: Encoded, of: Iterable[Row], most: int) -> Iterator[Row]:
    """Samples (n,), their random numbers, what is stored of them or the paths of their files, and their shapes.

    Every share has `most` samples, filled up with some that are not there.
    """
    for samples, random, ends in of:
        for start, stop in pairwise(ends):
            missing = (0, most - (stop - start))
            filled = np.pad(samples[start:stop], missing, constant_values=NONE)
            numbers = np.pad(random[start:stop], (missing, (0, 0)))
            for first in range(0, most, BLOCK):
                block = filled[first : first + BLOCK]
                there = block != NONE
                stored, shapes = np.full(len(block), b"", object), np.zeros((len(block), 3), np.int32)
                stored[there] = (split.paths or split.read)(block[there])
                if split.shapes is not None:
                    shapes[there] = split.shapes[block[there]]
                yield block, numbers[first : first + BLOCK], stored, shapes
