"""MNIST and Fashion-MNIST from their four official IDX files, each plain or gzipped.

A file is a header of big-endian 32-bit words and then the values, the last dimension fastest. The
first word tells the type (8: unsigned bytes) and the number of dimensions, the others their sizes
(http://yann.lecun.com/exdb/mnist/, "the IDX file format").
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcdl.data.images import Images, ImageSet
from hpcdl.data.sources.files import records, unreadable
from hpcdl.errors import DataError

SIDE = 28
OFFICIAL = {"train": 60_000, "t10k": 10_000}
"""Images in each split, by the first part of its files' names."""
DIMENSIONS = {"images": 3, "labels": 1}
NAMESAKES = ("fashion", "kmnist", "emnist", "qmnist")
"""In the name of a folder: its files, of the same names as MNIST's, are another set."""
AGAIN = "copy or download it again"


@dataclass(frozen=True)
class Kind:
    """What tells MNIST and Fashion-MNIST apart; their files have the same names."""

    name: str
    folders: tuple[str, ...]
    """Where the set may lie under a folder of sets; the second is torchvision's."""
    bare: bool
    """The set may also lie in a folder of sets itself."""
    classes: tuple[str, ...]
    mean: tuple[float]
    std: tuple[float]


# Means and deviations are of the 60,000 training images, as widely used; a stand-in is normalised alike.
MNIST = Kind(
    name="mnist",
    folders=("mnist", "MNIST/raw"),
    bare=True,
    classes=tuple(str(digit) for digit in range(10)),
    mean=(0.1307,),
    std=(0.3081,),
)
FASHION_MNIST = Kind(
    name="fashion-mnist",
    folders=("fashion-mnist", "FashionMNIST/raw"),
    bare=False,
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mean=(0.2860,),
    std=(0.3530,),
)


def find(path: Path, kind: Kind = MNIST) -> Path | None:
    """The folder of a set's files, in or at a path that is said to hold it."""
    return next((place for place in (*(path / name for name in kind.folders), path) if _holds_files(place)), None)


def search(path: Path, kind: Kind = MNIST) -> Path | None:
    """The folder of a set's files under a folder of sets, whose name must tell which set it is."""
    found = find(path, kind)
    if found != path:
        return found
    whole = path.resolve()
    name = (whole.parent if whole.name == "raw" else whole).name.lower()
    return path if kind.bare and not any(word in name for word in NAMESAKES) else None


def check(path: Path, kind: Kind = MNIST) -> None:
    """Refuses what `load` would; at 55 MB nothing is saved by looking at less.

    Raises:
        DataError: as `load`.
    """
    load(path, kind)


def load(path: Path, kind: Kind = MNIST) -> ImageSet:
    """Reads a set into memory (55 MB).

    Args:
        path: what `find` answered.
        kind: the set.

    Returns:
        Pixels (n, 28, 28, 1).

    Raises:
        DataError: a file is missing, truncated, too long, of another type, shape or count, or holds a label above 9.
    """
    marked = records(path, _mend(kind))
    counts = OFFICIAL if marked is None else marked
    splits = []
    for split in OFFICIAL:
        pixels = _read(path, split, "images", counts.get(split, 0), kind)
        labels = _read(path, split, "labels", counts.get(split, 0), kind)
        wrong = labels >= len(kind.classes)
        if wrong.any():
            place = int(np.argmax(wrong))
            told = f"{_file(path, split, 'labels')}: label {labels[place]} at {place}"
            raise DataError(told, f"labels from 0 to {len(kind.classes) - 1}", AGAIN)
        splits.append(Images(pixels[..., np.newaxis], labels.astype(np.int32)))
    return ImageSet(
        name=kind.name,
        train=splits[0],
        test=splits[1],
        classes=kind.classes,
        path=str(path),
        synthetic=marked is not None,
        mean=kind.mean,
        std=kind.std,
    )


def file_name(split: str, part: str) -> str:
    """The official name of a file, without .gz.

    Args:
        split: train or t10k.
        part: images or labels.
    """
    return f"{split}-{part}-idx{DIMENSIONS[part]}-ubyte"


def header(*sizes: int) -> bytes:
    """How a file of unsigned bytes of that shape begins."""
    return np.array([0x0800 + len(sizes), *sizes], ">u4").tobytes()


def _holds_files(folder: Path) -> bool:
    return _file(folder, "train", "images") is not None


def _file(folder: Path, split: str, part: str) -> Path | None:
    """A file under one of its names; the plain one before the gzipped, which takes longer to read."""
    name = file_name(split, part)
    names = (name, name.replace("-idx", ".idx"))
    files = (folder / f"{name}{ending}" for ending in ("", ".gz") for name in names)
    return next((file for file in files if file.is_file()), None)


def _read(folder: Path, split: str, part: str, count: int, kind: Kind) -> npt.NDArray[np.uint8]:
    """The values of a file, (count, 28, 28) or (count,)."""
    path = _file(folder, split, part)
    if path is None:
        expected = "train-images, train-labels, t10k-images and t10k-labels"
        raise DataError(f"no file {file_name(split, part)} or .gz in {folder}", expected, _mend(kind))
    shape = (count, SIDE, SIDE)[: DIMENSIONS[part]]
    begin, length = header(*shape), math.prod(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            # One byte more tells a longer file; a small file that unpacks to a huge one is not unpacked.
            content = file.read(len(begin) + length + 1)
    except EOFError:
        raise DataError(f"{path} (truncated)", "a whole gzip file", AGAIN) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: {error}", "a whole gzip file", AGAIN) from None
    except OSError as error:
        raise unreadable(path, error) from None
    _check_header(path, content[: len(begin)], shape)
    if len(content) != len(begin) + length:
        missing = len(content) < len(begin) + length
        told = f"{len(content):,} bytes (truncated)" if missing else "more bytes (too long)"
        raise DataError(f"{path} with {told}", f"{len(begin) + length:,} bytes", AGAIN)
    return np.frombuffer(content, np.uint8, offset=len(begin)).reshape(shape)


def _check_header(path: Path, begin: bytes, shape: tuple[int, ...]) -> None:
    magic, *sizes = np.frombuffer(begin[: len(begin) // 4 * 4], ">u4").tolist() or [0]
    if magic != 0x0800 + len(shape):
        raise DataError(
            f"{path} that begins with {begin[:4].hex()}",
            f"{header(*shape)[:4].hex()}, an IDX file of unsigned bytes in {len(shape)} dimensions",
            AGAIN,
        )
    if len(sizes) < len(shape):
        raise DataError(f"{path} with {len(begin)} bytes (truncated)", "a whole header", AGAIN)
    if tuple(sizes) != shape:
        raise DataError(
            f"{path} with values {' x '.join(map(str, sizes))}", " x ".join(map(str, shape)) + " values", AGAIN
        )


def _mend(kind: Kind) -> str:
    return (
        f"put the four official files into a folder {kind.name} there, or make a stand-in: "
        f"`hpcdl data synth {kind.name} --out DIR`"
    )
