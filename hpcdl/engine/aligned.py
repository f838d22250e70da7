"""Arrays that become tensors where they lie."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64
"""Bytes: at such an address TensorFlow takes over the memory of an array that Python gives it; else it copies."""


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array that is not filled, at an address of ALIGNMENT.

    Without it, a quarter of the time of a sum of 100 MiB went into copying it (benchmarks/README.md).
    """
    length = prod(shape) * np.dtype(dtype).itemsize
    space = np.empty(length + ALIGNMENT, np.uint8)
    start = -space.ctypes.data % ALIGNMENT
    return space[start : start + length].view(dtype).reshape(shape)
