"""The set that is packed or checked: loaded once a process, and what tells it from another."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from hpcdl.data.images import Images, ImageSet, Split
from hpcdl.data.shards.encode import relative
from hpcdl.data.shards.format import SplitName
from hpcdl.data.sources.registry import SOURCES
from hpcdl.data.subset import Subset


@lru_cache(maxsize=1)
def load_source(source: str, path: Path, subset: Subset) -> ImageSet:
    """A set, loaded once a process until the cache is cleared.

    Args:
        source: a key of SOURCES.
        path: what `locate` answered.
        subset: what is wanted of it.

    Raises:
        DataError: as its source's `load`.
    """
    return SOURCES[source].load(path, subset)


def splits(images: ImageSet) -> list[tuple[SplitName, Split]]:
    """Both splits and their names."""
    return [("train", images.train), ("test", images.test)]


def fingerprint(images: ImageSet) -> str:
    """SHA-256 of what tells one source from another: labels, and pixels or names."""
    digest = hashlib.sha256()
    for name, split in splits(images):
        digest.update(f"{name} {len(split)}\n".encode() + split.labels.astype("<i4").tobytes())
        if isinstance(split, Images):
            digest.update(repr(split.pixels.shape).encode() + np.ascontiguousarray(split.pixels).data)
        else:
            for place in range(len(split)):
                digest.update(relative(images, split.name(place)).encode() + b"\0")
    return digest.hexdigest()
