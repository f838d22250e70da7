"""A data set of one's own in a NumPy .npz file.

It holds x_train and x_test, uint8 pixels (n, height, width) or (n, height, width, channels) with 1 or 3
channels, y_train and y_test, whole numbers from 0, and may hold `classes`, an array of names. A .npz
is a zip archive of arrays in NumPy's own format
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html); pickled objects are refused.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from hpcdl.data.images import Images, ImageSet, Labels
from hpcdl.data.sources.files import unreadable
from hpcdl.errors import DataError

ENDING = ".npz"
PARTS = ("x_train", "y_train", "x_test", "y_test")
CLASSES = "classes"
MARK = "synthetic"
"""An array that is there where hpcdl made the file."""
WRITE = "write it with numpy.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...)"
FORMAT: Any = np.lib.format
BLOCK = 1 << 22
"""Bytes whose statistics are taken at a time."""


@dataclass(frozen=True)
class _Header:
    """What an array says of itself."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


def find(path: Path) -> Path | None:
    """A .npz file: the path itself, or the only one in that folder."""
    if path.is_dir():
        files = [file for file in path.glob(f"*{ENDING}") if file.is_file() and not file.name.startswith(".")]
        return files[0] if len(files) == 1 else None
    return path if path.suffix == ENDING and path.is_file() else None


def check(path: Path) -> None:
    """Refuses a file with a missing array, or one of the wrong type or shape; values are left to `load`.

    Args:
        path: what `find` answered.

    Raises:
        DataError: as `load`.
    """
    with _opened(path) as archive:
        _survey(path, archive)


def load(path: Path) -> ImageSet:
    """Reads a set into memory.

    Args:
        path: what `find` answered.

    Returns:
        Pixels (n, height, width, channels), with the mean and deviation of the training pixels themselves. Without
        names the classes are "0", "1" … up to the largest label.

    Raises:
        DataError: the file is damaged, or an array is missing, of the wrong type, shape or length, or holds a label
            that stands for no class.
    """
    with _opened(path) as archive:
        headers = _survey(path, archive)
        arrays = {name: _read(path, archive, name, header) for name, header in headers.items()}
        synthetic = f"{MARK}.npy" in archive.namelist()
    classes = _classes(path, arrays)
    splits = []
    for split in ("train", "test"):
        pixels = arrays[f"x_{split}"]
        labels = _labels(path, f"y_{split}", arrays[f"y_{split}"], len(classes))
        splits.append(Images(np.ascontiguousarray(pixels if pixels.ndim == 4 else pixels[..., np.newaxis]), labels))
    mean, std = _statistics(splits[0].pixels)
    return ImageSet(
        name="npz",
        train=splits[0],
        test=splits[1],
        classes=classes,
        path=str(path),
        synthetic=synthetic,
        mean=mean,
        std=std,
    )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        told = str(error) or type(error).__name__
        raise DataError(f"{path}: {told}", "a whole .npz file, not encrypted", f"copy it again, or {WRITE}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except MemoryError:
        raise DataError(f"{path}, larger than the memory", "arrays that fit", "keep fewer or smaller images") from None


def _survey(path: Path, archive: zipfile.ZipFile) -> dict[str, _Header]:
    """The headers of a set's arrays, whose types and shapes go together."""
    names = [*PARTS, *([CLASSES] if f"{CLASSES}.npy" in archive.namelist() else [])]
    headers = {}
    for name in names:
        try:
            entry = archive.getinfo(f"{name}.npy")
        except KeyError:
            held = ", ".join(sorted(archive.namelist())[:10]) or "nothing"
            raise DataError(f"{path} without {name} (it holds {held})", ", ".join(PARTS), WRITE) from None
        with archive.open(entry) as file:
            headers[name] = header = _header(file)
            length = file.tell() + math.prod(header.shape) * header.dtype.itemsize
        if header.dtype.hasobject:
            told = f"{path}: {name} holds Python objects"
            raise DataError(told, "numbers, or text as a NumPy string array", f"convert it: {name}.astype(...)")
        if entry.file_size != length:
            damage = "truncated" if entry.file_size < length else "too long"
            told = f"{path}: {name} with {entry.file_size:,} bytes ({damage})"
            raise DataError(told, f"{length:,} bytes for its shape {header.shape}", f"copy it again, or {WRITE}")
    for split in ("train", "test"):
        _check_shapes(path, split, headers[f"x_{split}"], headers[f"y_{split}"])
    train, test = headers["x_train"].shape, headers["x_test"].shape
    if train[0] == 0:
        raise DataError(f"{path}: no training images", "x_train with at least 1 image", WRITE)
    if train[1:] != test[1:]:
        told = f"{path}: training images {train[1:]} and test images {test[1:]}"
        raise DataError(told, "images of one shape", "resize them before they are written")
    if CLASSES in headers and (headers[CLASSES].dtype.kind not in "US" or len(headers[CLASSES].shape) != 1):
        told = f"{path}: classes of type {headers[CLASSES].dtype} and shape {headers[CLASSES].shape}"
        raise DataError(told, "an array of names (n,)", "write classes=numpy.array([...], dtype=str), or leave it out")
    return headers


def _check_shapes(path: Path, split: str, pixels: _Header, labels: _Header) -> None:
    told = f"{path}: x_{split} of type {pixels.dtype} and shape {pixels.shape}"
    expected = "uint8 pixels (n, height, width) or (n, height, width, 1 or 3)"
    if pixels.dtype != np.uint8:
        mend = f"convert it to 0 … 255: (x_{split} * 255).round().astype('uint8') if it holds 0 … 1"
        raise DataError(told, expected, mend)
    if len(pixels.shape) not in (3, 4) or 0 in pixels.shape[1:] or pixels.shape[3:] not in ((), (1,), (3,)):
        mend = "drop transparency: x[..., :3]" if pixels.shape[3:] == (4,) else "put the channels last, one image a row"
        raise DataError(told, expected, mend)
    told = f"{path}: y_{split} of type {labels.dtype} and shape {labels.shape}"
    expected = f"whole numbers ({pixels.shape[0]},), one for each image"
    if labels.shape[1:] not in ((), (1,)):
        raise DataError(told, expected, f"y_{split}.argmax(1), if a row is a label")
    if labels.shape[0] != pixels.shape[0]:
        raise DataError(told, expected, "write as many labels as images")
    if labels.dtype.kind not in "iu":
        raise DataError(told, expected, f"convert it: y_{split}.astype('int64')")


def _header(file: IO[bytes]) -> _Header:
    """Reads up to where the values begin.

    Raises:
        ValueError: not NumPy's format.
    """
    version = FORMAT.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"an array of format {version}")
    # 3.0 differs from 2.0 in the names of fields alone, and an array with fields is refused.
    read = FORMAT.read_array_header_1_0 if version == (1, 0) else FORMAT.read_array_header_2_0
    try:
        return _Header(*read(file))
    # NumPy lets through what the parser of a header stumbles over.
    except (SyntaxError, TokenError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f"an array whose header cannot be read: {type(error).__name__}") from None


def _read(path: Path, archive: zipfile.ZipFile, name: str, header: _Header) -> npt.NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        _header(file)
        # To its end, where zipfile compares the checksum.
        content = file.read()
    values = np.frombuffer(content, header.dtype)
    return values.reshape(header.shape, order="F" if header.fortran else "C")


def _classes(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> tuple[str, ...]:
    if CLASSES not in arrays:
        largest = max(int(arrays[f"y_{split}"].max(initial=0)) for split in ("train", "test"))
        if largest >= max(len(arrays["y_train"]), 1) + len(arrays["y_test"]):
            told = f"{path}: label {largest} of {len(arrays['y_train']):,} training images"
            raise DataError(told, "labels from 0, without large gaps", "number the classes from 0")
        return tuple(str(label) for label in range(largest + 1))
    names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in arrays[CLASSES].tolist()]
    if len(set(names)) != len(names) or not names:
        told = f"{path}: {len(names)} classes with {len(set(names))} different names"
        raise DataError(told, "a name of its own for each class", "correct classes, or leave it out")
    return tuple(names)


def _labels(path: Path, name: str, values: npt.NDArray[Any], classes: int) -> Labels:
    labels = values.reshape(-1)
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        place = int(np.argmax(wrong))
        told = f"{path}: {name} with label {labels[place]} at {place}"
        raise DataError(told, f"labels from 0 to {classes - 1}", "number the classes from 0, and name all of them")
    return labels.astype(np.int32)


def _statistics(pixels: npt.NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of pixels (n, h, w, c) in [0, 1], from exact counts of the 256 values."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    counts = np.zeros((flat.shape[1], 256), np.int64)
    for begin in range(0, len(flat), BLOCK):
        for channel, seen in enumerate(counts):
            seen += np.bincount(flat[begin : begin + BLOCK, channel], minlength=256)
    values = np.arange(256) / 255
    share = counts / len(flat)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, np.newaxis]) ** 2).sum(1))
    # What is the same everywhere needs no scale, and a division by 0 would make it NaN.
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
