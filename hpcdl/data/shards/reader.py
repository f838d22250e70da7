"""A folder of shards as an `ImageSet`: one read of a shard's file an image, from many threads too."""

from __future__ import annotations

import os
import resource
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcdl.data.images import Encoded, Images, ImageSet
from hpcdl.data.shards.format import MEND
from hpcdl.data.shards.index import Rows, read_index
from hpcdl.data.shards.manifest import Manifest, SplitRecord, check_size, read_manifest
from hpcdl.data.subset import Subset, narrow
from hpcdl.errors import DataError

IN_MEMORY = 4 * 2**30
"""Bytes of pixels of one shape that are read at once; more stay in their files."""
CHUNK = 1024


def load(path: Path, subset: Subset) -> ImageSet:
    """The set, in the order of the shards; its images are read when they are needed.

    Pixels of one shape are read into memory, unless they are more than IN_MEMORY.

    Args:
        path: what `find` answered.
        subset: what is wanted of it.

    Raises:
        DataError: what is read at once does not fit the manifest; see also `wanted_classes`.
    """
    manifest = read_manifest(path)
    for file in manifest.parts:
        check_size(path / file.name, file.bytes)
    train, test = (_split(path, split, manifest) for _, split in manifest.splits)
    images = ImageSet(
        name=manifest.source,
        train=train,
        test=test,
        classes=tuple(manifest.classes),
        path=str(path),
        synthetic=manifest.synthetic,
        mean=tuple(manifest.mean),
        std=tuple(manifest.std),
    )
    return _in_memory(narrow(images, subset))


def _split(path: Path, split: SplitRecord, manifest: Manifest) -> Encoded:
    rows = read_index(path, split, manifest)
    reader = Reader(path, split, rows)
    shapes = None
    if manifest.store == "pixels":
        shapes = np.stack([rows["height"], rows["width"], rows["channels"]], axis=1).astype(np.int32)
    return Encoded(rows["label"].astype(np.int32), reader.read, reader.name, shapes)


def _in_memory(images: ImageSet) -> ImageSet:
    """The set with pixels in memory, where all have one shape and are not too many; else as it is."""
    train, test = images.train, images.test
    if not (isinstance(train, Encoded) and isinstance(test, Encoded)) or train.shapes is None or test.shapes is None:
        return images
    shapes = np.unique(np.concatenate([train.shapes, test.shapes]), axis=0)
    if len(shapes) != 1 or shapes[0].prod(dtype=np.int64) * (len(train) + len(test)) > IN_MEMORY:
        return images
    return replace(images, train=_read_pixels(train, shapes[0]), test=_read_pixels(test, shapes[0]))


def _read_pixels(split: Encoded, shape: npt.NDArray[np.int32]) -> Images:
    pixels = np.empty((len(split), *shape), np.uint8)
    for start in range(0, len(split), CHUNK):
        some = np.arange(start, min(start + CHUNK, len(split)))
        pixels[some] = np.frombuffer(b"".join(split.read(some)), np.uint8).reshape(-1, *shape)
    return Images(pixels, split.labels)


class Reader:
    """Reads images of one split by their place in its index; from many threads too."""

    def __init__(self, path: Path, split: SplitRecord, rows: Rows) -> None:
        self._paths = [path / shard.name for shard in split.shards]
        self._first = np.cumsum([0, *(shard.samples for shard in split.shards)])
        self._rows = rows
        # Half of what this process may have open, for the rest of it opens files too.
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._open = lru_cache(maxsize=None if limit == resource.RLIM_INFINITY else max(1, limit // 2))(_Opened)

    def read(self, places: npt.NDArray[np.int64]) -> list[bytes]:
        """The stored bytes of images.

        Raises:
            DataError: a shard cannot be read, or is shorter than it was.
        """
        return [self._one(int(place)) for place in places]

    def name(self, place: int) -> str:
        """Shard and record, from 0."""
        shard = int(self._rows["shard"][place])
        return f"{self._paths[shard].name} record {place - self._first[shard]}"

    def _one(self, place: int) -> bytes:
        row = self._rows[place]
        path, length = self._paths[row["shard"]], int(row["length"])
        try:
            data = self._open(path).read(length, int(row["offset"]))
        except OSError as error:
            raise DataError(f"{path.parent / self.name(place)}: {error.strerror}", "a readable shard", MEND) from None
        if len(data) < length:
            raise DataError(
                f"{path.parent / self.name(place)}: the shard ends after {len(data):,} of its {length:,} bytes",
                "a shard as long as it was written",
                MEND,
            )
        return data


class _Opened:
    """A file that is closed when nobody holds it any more: another thread may be reading what the cache gives up."""

    def __init__(self, path: Path) -> None:
        self._file = -1
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, length: int, offset: int) -> bytes:
        """As many bytes as asked for, or fewer at the end of the file."""
        data = os.pread(self._file, length, offset)
        while 0 < len(data) < length:  # a signal, or more than one read may give
            more = os.pread(self._file, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)
