"""Learnable stand-ins for ImageNet and for folders of images: JPEG files in the same layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import numpy.typing as npt
from PIL import Image

from hpcdl.data.sources import folder, imagenet
from hpcdl.data.sources.files import MARK
from hpcdl.errors import DataError

CLASSES = 10
GRID = 48, 64
"""Rows and columns of a pattern, before an image's size is given to it."""


@dataclass(frozen=True)
class _Kind:
    """How one source's stand-in looks on disk."""

    name: str
    """Of its folder, one of those where `find` looks."""
    find: Callable[[Path], Path | None]
    width: int
    height: int
    """Pixels, about: each side is between 3/4 and 5/4 of it."""
    grain: int
    """Largest change of a single pixel, which makes a file as long as a photograph's."""
    label: str
    """A class's name, from its number, counted from 1."""
    file: dict[str, str]
    """An image's name in each split, from its class and its number in the split, counted from 1."""


IMAGENET = _Kind(
    imagenet.STAND_IN,
    imagenet.find,
    width=500,
    height=375,
    grain=24,
    label="n{0:08}",
    file={"train": "{0}_{1}.JPEG", "val": "ILSVRC2012_val_{1:08}.JPEG"},
)
FOLDER = _Kind(
    folder.STAND_IN,
    folder.find,
    width=64,
    height=48,
    grain=24,
    label="class{0:02}",
    file={"train": "{1:06}.jpg", "val": "{1:06}.jpg"},
)


def synthesize_imagenet(out: Path, train: int = 1000, test: int = 200, seed: int = 0) -> Path:
    """Writes a stand-in for ImageNet, of sizes around 500 x 375, with invented WNIDs from n00000001.

    Each class is a smooth colour pattern, shifted and buried in noise. Equal arguments give equal bytes, with the
    same Pillow and NumPy; an image depends on its split, number and seed alone.

    Args:
        out: folder that gets `imagenet`.
        train: training images in all, dealt to 10 classes, or to as many as there are images.
        test: images of `val`, dealt alike; without any there is no `val`.
        seed: of patterns and noise, from 0.

    Returns:
        What `imagenet.find` answers for `out`.

    Raises:
        DataError: the folder is there already, or cannot be written; counts that make no set.
    """
    return _write(IMAGENET, out, {"train": train, "val": test}, seed)


def synthesize_folder(out: Path, train: int = 1000, test: int = 200, seed: int = 0) -> Path:
    """Writes a stand-in for a folder of images by class, of sizes around 64 x 48; see `synthesize_imagenet`.

    Args:
        out: folder that gets `folder`.
        train: as for `synthesize_imagenet`.
        test: as for `synthesize_imagenet`.
        seed: as for `synthesize_imagenet`.

    Returns:
        What `folder.find` answers for `out`.

    Raises:
        DataError: as `synthesize_imagenet`.
    """
    return _write(FOLDER, out, {"train": train, "val": test}, seed)


def _write(kind: _Kind, out: Path, counts: dict[str, int], seed: int) -> Path:
    if counts["train"] < 1 or counts["val"] < 0 or seed < 0:
        told = f"{counts['train']} training and {counts['val']} test images from seed {seed}"
        raise DataError(told, "at least 1, at least 0, and a seed from 0", "change the numbers")
    root = out / kind.name
    if root.exists() or kind.find(out) == out:
        told = f"{root} exists" if root.exists() else f"{out} exists, and holds images by class itself"
        raise DataError(told, "a folder that is not there yet", "choose another --out, or delete it first")
    try:
        out.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{kind.name}.", dir=out))
    except OSError as error:
        raise DataError(f"{out}: {error.strerror}", "a folder that can be written", "choose another --out") from None
    try:
        _fill(kind, beside, counts, seed)
        (beside / MARK).write_text(json.dumps({"records": counts, "seed": seed}) + "\n", encoding="utf-8")
        beside.chmod(0o755)
        beside.replace(root)
    except OSError as error:
        raise DataError(
            f"{root}: {error.strerror}", "room and permission to write it", "free space or choose another --out"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return root


def _fill(kind: _Kind, root: Path, counts: dict[str, int], seed: int) -> None:
    classes = min(CLASSES, counts["train"])
    patterns = _patterns(np.random.default_rng([seed, 0]))
    for split, (name, count) in enumerate(counts.items(), start=1):
        for number in range(count):
            label = kind.label.format(number % classes + 1)
            path = root / name / label / kind.file[name].format(label, number + 1)
            if number < classes:
                path.parent.mkdir(parents=True)
            pixels = _draw(kind, patterns[number % classes], np.random.default_rng([seed, split, number]))
            Image.fromarray(pixels).save(path, "JPEG", quality=85)


def _patterns(random: np.random.Generator) -> npt.NDArray[np.float32]:
    """One smooth pattern a class, (10, 48, 64, 3) in about [-1, 1]: a colour, and a few waves."""
    rows, columns = np.meshgrid(*(np.arange(side) / side for side in GRID), indexing="ij")
    patterns = np.empty((CLASSES, *GRID, 3), np.float32)
    for label in range(CLASSES):
        for channel in range(3):
            patterns[label, :, :, channel] = random.uniform(-0.5, 0.5)
            for _ in range(3):
                down, across = random.integers(-3, 4, size=2)
                phase = random.uniform(0, 2 * np.pi)
                patterns[label, :, :, channel] += np.cos(2 * np.pi * (down * rows + across * columns) + phase) / 4
    return patterns


def _draw(kind: _Kind, pattern: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """An image of a class, (height, width, 3): its pattern shifted by up to an eighth, noise, its size, grain."""
    shift = [int(random.integers(-side // 8, side // 8 + 1)) for side in GRID]
    noisy = 128 + 50 * np.roll(pattern, shift, (0, 1)) + 50 * random.standard_normal(pattern.shape, np.float32)
    width, height = (int(random.integers(side * 3 // 4, side * 5 // 4 + 1)) for side in (kind.width, kind.height))
    coarse = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    fine = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR), np.int16)
    grain = random.integers(-kind.grain, kind.grain, fine.shape, np.int16, endpoint=True)
    return np.clip(fine + grain, 0, 255).astype(np.uint8)
