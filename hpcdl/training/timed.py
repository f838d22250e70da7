"""What an allreduce benchmark calls and times, without TensorFlow: copies in memory, and sums by MPI alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcdl.allreduce import MEMORY, PLAIN

Array = npt.NDArray[np.float32]
PATTERN = 7
"""Values are 1 to this, so that bytes in a wrong place show."""


@dataclass(frozen=True)
class Timed:
    """One thing to time.

    Attributes:
        engine: as in records.
        compression: as in records.
        bytes: that it works on.
        error: calls it once and answers how far the result is from what is right.
        allowed: how far it may be.
        call: calls it.
    """

    engine: str
    compression: str
    bytes: int
    error: Callable[[], float]
    allowed: float
    call: Callable[[], object]


def shares(count: int, rank: int, size: int) -> tuple[Array, Array]:
    """What a rank adds, and the sum over ranks: ranks add different shares, and the sum is the same on any number."""
    total = (np.arange(count) % PATTERN + 1).astype(np.float32)
    return total * np.float32(2 * (rank + 1) / (size * (size + 1))), total


def in_memory(sizes: Sequence[int]) -> list[Timed]:
    """A copy of the same bytes, on all ranks at once."""

    def timed(size: int) -> Timed:
        source, target = shares(size // 4, 0, 1)[0], np.zeros(size // 4, np.float32)

        def error() -> float:
            np.copyto(target, source)
            return float(np.abs(target - source).max())

        return Timed(MEMORY, "none", size, error, 0.0, lambda: np.copyto(target, source))

    return [timed(size) for size in sizes]


def plain_sums(sum_in_place: Callable[[Array], None], rank: int, size: int, sizes: Sequence[int]) -> list[Timed]:
    """MPI's own Allreduce, in place."""

    def timed(count: int) -> Timed:
        buffer, total = shares(count // 4, rank, size)

        def error() -> float:
            sum_in_place(buffer)
            found = float(np.abs(buffer - total).max())
            buffer.fill(0.0)  # sums of sums would overflow
            return found

        return Timed(PLAIN, "none", count, error, PATTERN * 1e-5, lambda: sum_in_place(buffer))

    return [timed(count) for count in sizes]
