"""Image files as a split: paths of millions in little memory, and each file's bytes read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcdl.data.images import Encoded, Labels
from hpcdl.data.sources.entries import out_of_reach, shown
from hpcdl.data.sources.listing import image_names
from hpcdl.errors import DataError


@dataclass(frozen=True)
class Files:
    """Paths of many files, in 12 bytes each beside their names.

    Attributes:
        folders: that hold them.
        folder: (files,), int32, the place of each one's folder.
        names: their names as the file system spells them, one after the other.
        bounds: (files + 1,), int64, where each name begins and the one before it ends.
    """

    folders: tuple[Path, ...]
    folder: npt.NDArray[np.int32]
    names: bytes
    bounds: npt.NDArray[np.int64]

    def path(self, place: int) -> Path:
        """Where a file is."""
        name = self.names[self.bounds[place] : self.bounds[place + 1]]
        return self.folders[int(self.folder[place])] / os.fsdecode(name)

    def paths(self, places: npt.NDArray[np.int64]) -> list[bytes]:
        """Where files are, as the file system spells it."""
        return [os.fsencode(self.path(int(place))) for place in places]

    def name(self, place: int) -> str:
        """Its path, as it can be printed."""
        return shown(self.path(place))

    def read(self, places: npt.NDArray[np.int64]) -> list[bytes]:
        """The bytes of each.

        Raises:
            DataError: one is empty, or cannot be read.
        """
        return [_content(self.path(int(place))) for place in places]


@dataclass(frozen=True)
class Listed:
    """Images of one folder: their names one after the other, and the length of each in bytes."""

    folder: Path
    names: bytes
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, folder: Path, names: Sequence[str]) -> Listed:
        """Images of a folder, in the order of `names`."""
        encoded = [os.fsencode(name) for name in names]
        return cls(folder, b"".join(encoded), np.array([len(name) for name in encoded], np.int64))


def join(parts: Sequence[Listed], labels: Labels) -> Encoded:
    """A split of the images of some folders, one folder after the other; of none, an empty one.

    Args:
        parts: the folders.
        labels: (images of all parts,), int32.
    """
    lengths = [part.lengths for part in parts]
    files = Files(
        folders=tuple(part.folder for part in parts),
        folder=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in lengths]),
        names=b"".join(part.names for part in parts),
        bounds=np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum(),
    )
    return Encoded(labels, files.read, files.name, paths=files.paths)


def empty() -> Encoded:
    """A split without images."""
    return join([], np.zeros(0, np.int32))


def by_class(
    split: Path,
    classes: Sequence[str],
    there: Collection[str],
    per_class: int | None = None,
    inside: str | None = None,
) -> Encoded:
    """The images of a split's class folders, class after class, each one's by name.

    Args:
        split: the folder with the class folders.
        classes: that are wanted, in the order of their labels.
        there: names of the class folders; of other classes there are no images.
        per_class: at most so many of each, the first ones; None: all.
        inside: name of a folder in a class folder that may hold the images instead.

    Raises:
        DataError: see `image_names`.
    """
    parts, labels, known = [], [np.zeros(0, np.int32)], frozenset(there)
    for label, name in enumerate(classes):
        if name in known:
            folder, images = image_names(split / name, inside)
            parts.append(Listed.of(folder, images[:per_class]))
            labels.append(np.full(len(parts[-1].lengths), label, np.int32))
    return join(parts, np.concatenate(labels))


def _content(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise out_of_reach(path, error) from None
    if not data:
        raise DataError(f"{shown(path)} is empty (0 bytes)", "an image", "copy it again, or delete it")
    return data
