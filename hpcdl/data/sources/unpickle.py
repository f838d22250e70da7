"""Pickles of numbers, text and NumPy arrays, read without running anything that they ask for.

A pickle is a program that may name any function (https://docs.python.org/3/library/pickle.html). This
reader answers the names by which NumPy rebuilds its arrays with functions of its own, and refuses all
others.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from hpcdl.errors import DataError

NUMBERS = re.compile(r"[|<>=]?(b1|[iu][1248]|f[248])")
"""Codes of the element types that an array may have."""
MEND = "download it again from where it was published, and do not open it with another program"


def unpickle(content: bytes, path: str | Path) -> Any:
    """What a pickle holds: containers, numbers, text, bytes and arrays of numbers.

    Strings of Python 2 come as bytes.

    Args:
        content: of the file.
        path: what messages call it.

    Raises:
        DataError: the pickle names anything else, is truncated or damaged.
    """
    try:
        _check_memo(content)
        return _Restricted(content, path).load()
    except DataError:
        raise
    # Garbage makes an unpickler raise nearly anything, as its documentation says.
    except Exception as error:
        told = str(error) or type(error).__name__
        raise DataError(f"{path}: {told[:200]}", "a whole pickle of arrays and lists", MEND) from None


def _check_memo(content: bytes) -> None:
    """Refuses numbers of remembered objects beyond those that there are: the reader makes room up to the largest."""
    for operations, (operation, number, _) in enumerate(pickletools.genops(content)):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and number not in range(operations + 1):
            raise pickle.UnpicklingError(f"object {number} after {operations} operations")


class _Array(np.ndarray[Any, np.dtype[Any]]):
    """An array that takes only numbers from a pickle, and exactly as many as its shape says."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        numbers: Any = (1, *_checked(shape, kind, raw), bool(fortran), bytes(raw))
        super().__setstate__(numbers)


class _Kind:
    """An element type: its code and, from its state, its byte order."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        self.code = _text(code)

    def __setstate__(self, state: Any) -> None:
        order, *fields = state[1:5]
        if any(field is not None for field in fields):
            raise pickle.UnpicklingError("an array of records")
        self.code = _text(order) + self.code.lstrip("|<>=")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Raises where elements are not numbers; objects could be anything."""
        if not NUMBERS.fullmatch(self.code):
            told = "Python objects" if self.code.lstrip("|")[:1] == "O" else f"type {self.code!r:.40}"
            raise pickle.UnpicklingError(f"an array of {told}, where only numbers are read")
        return np.dtype(self.code)


class _Name:
    """Stands for a name in a pickle, which may call it and do nothing else with it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("state for a function")


def _empty(*_: Any) -> _Array:
    return _Array((0,), np.uint8)


def _scalar(kind: Any, raw: Any) -> Any:
    shape, dtype = _checked((), kind, raw)
    return np.frombuffer(bytes(raw), dtype).reshape(shape)[()]


def _from_buffer(raw: Any, kind: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    checked, dtype = _checked(shape, kind, raw)
    return np.frombuffer(bytes(raw), dtype).reshape(checked, order="F" if order == "F" else "C")


def _checked(shape: Any, kind: Any, raw: Any) -> tuple[tuple[SupportsIndex, ...], np.dtype[Any]]:
    if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
        raise pickle.UnpicklingError("an array without a shape")
    if not isinstance(kind, _Kind):
        raise pickle.UnpicklingError("an array without a type")
    dtype = kind.dtype
    if not isinstance(raw, bytes | bytearray) or len(raw) != math.prod(shape) * dtype.itemsize:
        raise pickle.UnpicklingError("an array whose bytes do not fill its shape")
    return shape, dtype


def _text(value: Any) -> str:
    if not isinstance(value, str | bytes):
        raise pickle.UnpicklingError("an array without a type")
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _names() -> dict[tuple[str, str], _Name]:
    names = {("numpy", "ndarray"): _Name(_empty), ("numpy", "dtype"): _Name(_Kind)}
    # NumPy 2 renamed numpy.core; protocol 5 has arrays made from a buffer.
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = _Name(_empty)
        names[f"{core}.multiarray", "scalar"] = _Name(_scalar)
        names[f"{core}.numeric", "_frombuffer"] = _Name(_from_buffer)
    return names


class _Restricted(pickle.Unpickler):
    def __init__(self, content: bytes, path: str | Path) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._path = path
        self._names = _names()

    def find_class(self, module: str, name: str) -> Any:
        found = self._names.get((module, name))
        if found is None:
            raise DataError(
                f"{self._path}: a pickle that asks for {f'{module}.{name}'!r:.200}; nothing of it was run",
                "a pickle of NumPy arrays, lists, numbers and text alone",
                MEND,
            )
        return found
