"""One copy of a set in memory for all ranks of a node: a file that they map, and that has no name any more."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpcdl.data.images import Images, ImageSet

MEMORY = Path("/dev/shm")
PAGE = 4096


@dataclass(frozen=True)
class Published:
    """Where a set's pixels lie, and the set without them; small enough to be sent."""

    path: Path
    images: ImageSet
    shapes: tuple[tuple[int, ...], ...]
    """Of the training and the test pixels, which follow each other from one page to the next."""


def publish(images: ImageSet, folders: Sequence[Path] | None = None) -> Published | None:
    """Writes the pixels where the other ranks of the node can map them.

    Args:
        images: the set.
        folders: where to write, the first that has room; None: memory, then the temporary folder.

    Returns:
        None where the images are not in memory, or no folder has room: then each rank keeps its own.
    """
    splits = [split for split in (images.train, images.test) if isinstance(split, Images)]
    if len(splits) < 2:
        return None
    need = sum(_pages(split.pixels.nbytes) for split in splits)
    for folder in folders or (MEMORY, Path(tempfile.gettempdir())):
        if folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 1.1 * need:
            published = _write(images, splits, folder)
            if published:
                return published
    return None


def adopt(published: Published) -> ImageSet:
    """The set, its pixels mapped from what another rank has published: pages are shared until one is written."""
    splits, start = [], 0
    for split, shape in zip((published.images.train, published.images.test), published.shapes, strict=True):
        pixels = np.zeros(shape, np.uint8)
        if pixels.size:
            pixels = np.memmap(published.path, np.uint8, mode="c", offset=start, shape=shape)
        splits.append(Images(pixels, split.labels))
        start += _pages(pixels.nbytes)
    return replace(published.images, train=splits[0], test=splits[1])


def _write(images: ImageSet, splits: Sequence[Images], folder: Path) -> Published | None:
    """None where the room is gone meanwhile."""
    handle, name = tempfile.mkstemp(prefix="hpcdl-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            for split in splits:
                file.write(np.ascontiguousarray(split.pixels).data)
                file.write(bytes(_pages(split.pixels.nbytes) - split.pixels.nbytes))
    except OSError:
        Path(name).unlink()
        return None
    empty = [Images(split.pixels[:0], split.labels) for split in splits]
    return Published(
        Path(name), replace(images, train=empty[0], test=empty[1]), tuple(split.pixels.shape for split in splits)
    )


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE
