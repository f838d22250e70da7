"""What is to be packed and how, checked: the values that the files depend on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcdl.data.images import Images, ImageSet, Split
from hpcdl.data.shards.encode import text
from hpcdl.data.shards.source import fingerprint
from hpcdl.data.subset import ALL, Subset
from hpcdl.errors import ConfigError, DataError


@dataclass(frozen=True)
class Request:
    """What is wanted."""

    source: str
    """A key of SOURCES."""
    path: Path
    """Where it is."""
    out: Path
    subset: Subset = ALL
    store: str = "auto"
    """jpeg, pixels, or auto: jpeg for sources of image files, pixels for those in memory."""
    size: int | None = None
    """The short side of larger images becomes this."""
    quality: int = 95
    """Of JPEG files that are encoded anew."""
    shard_mb: float = 128
    """MiB a shard, about."""
    seed: int = 0
    """Of the order of the training images."""
    skip: bool = False
    """Leave out damaged images instead of refusing the set."""
    workers: int = 1
    overwrite: bool = False
    """Delete what an earlier call left in `out`."""


def settings_of(request: Request, images: ImageSet) -> dict[str, Any]:
    """What the files depend on, as the plan and the manifest hold it.

    Args:
        request: what is wanted.
        images: what its source holds.

    Raises:
        ConfigError: a value that cannot be used.
        DataError: images whose channels do not allow what is wanted.
    """
    _check_values(request)
    raw = [split for split in (images.train, images.test) if isinstance(split, Images) or split.shapes is not None]
    store = request.store if request.store != "auto" else "pixels" if raw else "jpeg"
    channels = {channels for split in raw for channels in _channels(split)}
    if channels - {1, 3} and (store == "jpeg" or request.size is not None):
        raise DataError(
            f"{request.path}: images of {max(channels - {1, 3})} channels",
            "1 or 3 channels for --store jpeg and for --size",
            "choose --store pixels, without --size",
        )
    return {
        "source": request.source,
        "store": store,
        "size": request.size,
        "quality": request.quality if store == "jpeg" else None,
        "seed": request.seed,
        "shard_mb": float(request.shard_mb),
        "classes": [text(name) for name in images.classes],
        "files": fingerprint(images),
    }


def _check_values(request: Request) -> None:
    for option, value, lowest, highest in (
        ("--size", request.size, 1, None),
        ("--quality", request.quality, 1, 100),
        ("--workers", request.workers, 1, None),
        ("--seed", request.seed, 0, None),
    ):
        if value is not None and (value < lowest or (highest is not None and value > highest)):
            told = f"from {lowest} to {highest}" if highest else f"at least {lowest}"
            raise ConfigError(f"{option} {value}", told, "correct the value")
    if request.store not in ("auto", "jpeg", "pixels"):
        raise ConfigError(f"--store {request.store}", "auto, jpeg or pixels", "choose one of them")
    if not request.shard_mb > 0:
        raise ConfigError(f"--shard-mb {request.shard_mb}", "MiB a shard, above 0", "correct the value")


def _channels(split: Split) -> set[int]:
    if isinstance(split, Images):
        return {split.pixels.shape[3]}
    return set() if split.shapes is None else set(np.unique(split.shapes[:, 2]).tolist())
