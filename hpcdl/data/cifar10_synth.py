"""A learnable stand-in for CIFAR-10, in the same files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import numpy.typing as npt

from hpcdl.data.cifar10 import CLASSES, FOLDER, MARK, RECORD, TEST_FILE, TRAIN_FILES
from hpcdl.errors import DataError


def synthesize(out: Path, train: int = 50_000, test: int = 10_000, seed: int = 0) -> Path:
    """Writes a learnable stand-in with the official file layout; equal arguments give equal bytes.

    Each class is a smooth colour pattern, shifted and buried in noise.

    Args:
        out: folder that gets `cifar-10-batches-bin`.
        train: training images in all, a multiple of 5.
        test: test images.
        seed: of the patterns and the noise.

    Raises:
        DataError: the folder is there already, or cannot be written.
    """
    if train < 5 or train % 5 or test < 1:
        raise DataError(
            f"{train} training and {test} test images", "a positive multiple of 5, and at least 1", "change the counts"
        )
    folder = out / FOLDER
    if folder.exists():
        raise DataError(
            f"{folder} exists", "a folder that is not there yet", "choose another --out, or delete it first"
        )
    patterns = _patterns(np.random.default_rng([seed, 0]))
    counts = {**dict.fromkeys(TRAIN_FILES, train // 5), TEST_FILE: test}
    try:
        out.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{FOLDER}.", dir=out))
    except OSError as error:
        raise DataError(f"{out}: {error.strerror}", "a folder that can be written", "choose another --out") from None
    try:
        for number, (name, count) in enumerate(counts.items(), start=1):
            _draw(patterns, count, np.random.default_rng([seed, number])).tofile(beside / name)
        (beside / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
        (beside / MARK).write_text(json.dumps({"records": counts, "seed": seed}) + "\n", encoding="utf-8")
        beside.chmod(0o755)
        beside.replace(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: {error.strerror}", "room and permission to write it", "free space or choose another --out"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _patterns(random: np.random.Generator) -> npt.NDArray[np.float32]:
    """One smooth pattern a class, (10, 32, 32, 3) in about [-1, 1]: a few low frequencies, which wrap around."""
    rows, columns = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    patterns = np.zeros((len(CLASSES), 32, 32, 3), np.float32)
    for label in range(len(CLASSES)):
        for channel in range(3):
            for _ in range(3):
                down, across = random.integers(-3, 4, size=2)
                phase = random.uniform(0, 2 * np.pi)
                patterns[label, :, :, channel] += np.cos(2 * np.pi * (down * rows + across * columns) / 32 + phase) / 3
    return patterns


def _draw(patterns: npt.NDArray[np.float32], count: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """`count` records (count, 3073) of the official layout."""
    table = np.empty((count, RECORD), np.uint8)
    for begin in range(0, count, 1000):
        size = min(1000, count - begin)
        labels = random.integers(0, len(CLASSES), size)
        shifts = random.integers(-4, 5, size=(size, 2))
        images = np.stack(
            [np.roll(patterns[label], shift, (0, 1)) for label, shift in zip(labels, shifts, strict=True)]
        )
        noisy = 128 + 40 * images + 60 * random.standard_normal(images.shape, dtype=np.float32)
        table[begin : begin + size, 0] = labels
        table[begin : begin + size, 1:] = (
            np.clip(noisy, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2).reshape(size, -1)
        )
    return table
