"""Arrays that become tensors where they lie, in memory that is used again."""

from __future__ import annotations

import weakref
from collections import deque
from contextlib import suppress
from math import prod
from mmap import MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Arrays:
    """Gives out arrays that are not filled, each at the begin of a page.

    TensorFlow takes over the memory of an array at an address of 64 bytes, and copies any other. What nobody holds
    any more, as array, part of one or tensor, is given out again for one of the same length: new memory costs a page
    fault every few KiB (benchmarks/README.md). No more is kept than was out at once.
    One thread at a time may take; any may let go.
    """

    def __init__(self) -> None:
        self._back: deque[mmap] = deque()
        """Filled whenever an array dies, which may be at any moment: nothing but `take` works on what follows."""
        self._free: list[mmap] = []
        self._out = self._most = 0

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """An array of this shape and dtype."""
        pages = self._pages(max(1, prod(shape) * np.dtype(dtype).itemsize))
        # A view of a view has as its base the first array of them, whose own base is no array: it outlives them all.
        whole: Array = np.ndarray(shape, dtype, pages)
        weakref.finalize(whole, self._back.append, pages).atexit = False
        return whole

    def _pages(self, length: int) -> mmap:
        while self._back:
            self._free.append(self._back.popleft())
            self._out -= len(self._free[-1])
        found = next((at for at, each in enumerate(self._free) if len(each) == length), None)
        if found is None:
            pages = mmap(-1, length, MAP_PRIVATE | MAP_ANONYMOUS)
            with suppress(OSError):  # a kernel without large pages
                pages.madvise(MADV_HUGEPAGE)
        else:
            pages = self._free.pop(found)
        self._out += length
        self._most = max(self._most, self._out)
        while sum(map(len, self._free)) > self._most:
            del self._free[0]
        return pages
