"""Learnable stand-ins for the small data sets, in the same files.

Each class is a smooth pattern, shifted and buried in noise.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from hpcdl.data.sources import arrays, idx
from hpcdl.data.sources.cifar import CIFAR10
from hpcdl.data.sources.cifar import SIDE as CIFAR_SIDE
from hpcdl.data.sources.cifar import Kind as CifarKind
from hpcdl.data.sources.files import MARK
from hpcdl.errors import DataError

NPZ = "synthetic.npz"
NPZ_CLASSES = 10
CHUNK = 1000
"""Images that are drawn at a time."""

Patterns = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def cifar(out: Path, train: int = 50_000, test: int = 10_000, seed: int = 0, kind: CifarKind = CIFAR10) -> Path:
    """Writes a stand-in for CIFAR-10 or CIFAR-100 in the official binary version; equal arguments give equal bytes.

    Args:
        out: folder that gets `cifar-10-batches-bin` or `cifar-100-binary`.
        train: training images in all, for CIFAR-10 a multiple of 5, its files.
        test: test images.
        seed: of the patterns and the noise, from 0.
        kind: the set.

    Returns:
        The folder.

    Raises:
        DataError: the folder is there already, or cannot be written; counts that make no set.
    """
    version = kind.binary
    *parts, last = version.files
    _check_counts(train, test, len(parts))
    counts = {**dict.fromkeys(parts, train // len(parts)), last: test}
    patterns = _patterns(np.random.default_rng([seed, 0]), len(kind.classes), CIFAR_SIDE, 3)
    with _beside(out / version.folder) as folder:
        folder.mkdir()
        for number, (name, count) in enumerate(counts.items(), start=1):
            with (folder / name).open("wb") as file:
                for labels, pixels in _draw(patterns, count, np.random.default_rng([seed, number])):
                    records = np.empty((len(labels), kind.record), np.uint8)
                    # CIFAR-100 has a coarse label before the fine one; here it stands for the next five classes.
                    records[:, 0] = labels // 5
                    records[:, kind.label_bytes - 1] = labels
                    records[:, kind.label_bytes :] = pixels.transpose(0, 3, 1, 2).reshape(len(labels), -1)
                    file.write(records.data)
        (folder / (version.names or "batches.meta.txt")).write_text("\n".join(kind.classes) + "\n", encoding="utf-8")
        _mark(folder, counts, seed)
    return out / version.folder


def mnist(out: Path, train: int = 60_000, test: int = 10_000, seed: int = 0, kind: idx.Kind = idx.MNIST) -> Path:
    """Writes a stand-in for MNIST or Fashion-MNIST in gzipped IDX files; equal arguments give equal bytes,
    with the same zlib.

    Args:
        out: folder that gets `mnist` or `fashion-mnist`.
        train: training images.
        test: test images.
        seed: of the patterns and the noise, from 0.
        kind: the set.

    Returns:
        The folder.

    Raises:
        DataError: the folder is there already, or cannot be written; counts that make no set.
    """
    _check_counts(train, test)
    counts = dict(zip(idx.OFFICIAL, (train, test), strict=True))
    patterns = _patterns(np.random.default_rng([seed, 0]), len(kind.classes), idx.SIDE, 1)
    folder = out / kind.folders[0]
    with _beside(folder) as beside:
        beside.mkdir()
        for number, (split, count) in enumerate(counts.items(), start=1):
            with ExitStack() as stack:
                images, truths = (
                    stack.enter_context(_gzipped(beside / f"{idx.file_name(split, part)}.gz"))
                    for part in idx.DIMENSIONS
                )
                images.write(idx.header(count, idx.SIDE, idx.SIDE))
                truths.write(idx.header(count))
                for labels, pixels in _draw(patterns, count, np.random.default_rng([seed, number])):
                    images.write(pixels.data)
                    truths.write(labels.astype(np.uint8).data)
        _mark(beside, counts, seed)
    return folder


def npz(out: Path, train: int = 10_000, test: int = 2_000, seed: int = 0) -> Path:
    """Writes a .npz file of colour images (n, 32, 32, 3) in 10 classes; equal arguments give equal bytes.

    Args:
        out: folder that gets `synthetic.npz`, and must have no other .npz: the source reads the only one.
        train: training images.
        test: test images.
        seed: of the patterns and the noise, from 0.

    Returns:
        The file.

    Raises:
        DataError: a .npz file is there already, or none can be written; counts that make no set.
    """
    others = sorted(path.name for path in out.glob(f"*{arrays.ENDING}")) if out.is_dir() else []
    if others and others != [NPZ]:
        mend = "choose another --out"
        raise DataError(f"{out / others[0]} exists", f"a folder without {arrays.ENDING} files", mend)
    _check_counts(train, test)
    patterns = _patterns(np.random.default_rng([seed, 0]), NPZ_CLASSES, CIFAR_SIDE, 3)
    content: dict[str, npt.NDArray[np.generic]] = {arrays.MARK: np.array(True)}
    with _beside(out / NPZ) as file:
        for number, (split, count) in enumerate({"train": train, "test": test}.items(), start=1):
            x = np.empty((count, *patterns.shape[1:]), np.uint8)
            y = np.empty(count, np.int64)
            drawn = _draw(patterns, count, np.random.default_rng([seed, number]))
            for begin, (labels, pixels) in zip(range(0, count, CHUNK), drawn, strict=True):
                x[begin : begin + CHUNK], y[begin : begin + CHUNK] = pixels, labels
            content |= {f"x_{split}": x, f"y_{split}": y}
        np.savez(file, **content)
    return out / NPZ


def _check_counts(train: int, test: int, files: int = 1) -> None:
    if train < files or train % files or test < 1:
        expected = "at least 1 of each" if files == 1 else f"a positive multiple of {files}, and at least 1"
        raise DataError(f"{train} training and {test} test images", expected, "change the counts")


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Where to write a file or folder that gets its place when it is whole; nothing is left where something fails."""
    if target.exists():
        mend = "choose another --out, or delete it first"
        raise DataError(f"{target} exists", "a place where nothing is yet", mend)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        told = f"{target.parent}: {error.strerror}"
        raise DataError(told, "a folder that can be written", "choose another --out") from None
    try:
        yield scratch / target.name
        (scratch / target.name).replace(target)
    except OSError as error:
        told = f"{target}: {error.strerror}"
        raise DataError(told, "room and permission to write it", "free space or choose another --out") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _gzipped(path: Path) -> Iterator[BinaryIO]:
    """A gzip file without name and time, so that equal content gives equal bytes."""
    # Noise does not get shorter with more effort.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
        yield cast(BinaryIO, file)


def _mark(folder: Path, counts: dict[str, int], seed: int) -> None:
    (folder / MARK).write_text(json.dumps({"records": counts, "seed": seed}) + "\n", encoding="utf-8")


def _patterns(random: np.random.Generator, classes: int, side: int, channels: int) -> Patterns:
    """One smooth pattern a class, (classes, side, side, channels) in about [-1, 1]: frequencies that wrap around."""
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    patterns = np.zeros((classes, side, side, channels), np.float32)
    for label in range(classes):
        for channel in range(channels):
            for _ in range(3):
                down, across = random.integers(-3, 4, size=2)
                phase = random.uniform(0, 2 * np.pi)
                wave = np.cos(2 * np.pi * (down * rows + across * columns) / side + phase)
                patterns[label, :, :, channel] += wave / 3
    return patterns


def _draw(
    patterns: Patterns, count: int, random: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.int64], Pixels]]:
    """`count` labels (n,) and images (n, side, side, channels), some at a time."""
    for begin in range(0, count, CHUNK):
        size = min(CHUNK, count - begin)
        labels = random.integers(0, len(patterns), size)
        shifts = random.integers(-4, 5, size=(size, 2))
        images = np.stack(
            [np.roll(patterns[label], shift, (0, 1)) for label, shift in zip(labels, shifts, strict=True)]
        )
        noisy = 128 + 40 * images + 60 * random.standard_normal(images.shape, dtype=np.float32)
        yield labels, np.clip(noisy, 0, 255).astype(np.uint8)
