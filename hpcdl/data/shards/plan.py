"""Which images each shard gets: a function of the source and the request alone, however many processes write."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcdl.data.images import ImageSet
from hpcdl.data.shards.encode import BadImage, Encoding, encode
from hpcdl.data.shards.format import PARTS, SPLITS, SplitName, shard_name
from hpcdl.data.shards.request import Request
from hpcdl.data.shards.source import splits
from hpcdl.data.subset import Subset
from hpcdl.errors import ConfigError

SAMPLE = 256
"""Images that are encoded to know how many a shard can hold."""
OVERHEAD = 250
"""About the bytes that a record holds besides its image."""
MOST_SHARDS = 99_999
"""Of a split: what five digits of a name can tell."""

Task = tuple[SplitName, int]
"""A split, and the number of a shard in it."""


@dataclass(frozen=True)
class Job:
    """What a process must know to write any of the shards."""

    source: str
    path: Path
    subset: Subset
    out: Path
    encoding: Encoding
    seed: int
    samples: dict[SplitName, int]
    shards: dict[SplitName, int]
    skip: bool

    @property
    def tasks(self) -> list[Task]:
        """All shards, training first."""
        return [(name, number) for name in SPLITS for number in range(self.shards[name])]

    def shard(self, task: Task) -> Path:
        """Its file."""
        name, number = task
        return self.out / shard_name(name, number, self.shards[name])

    def rows(self, task: Task) -> Path:
        """Its part of the index."""
        return self.out / PARTS / f"{task[0]}-{task[1]:05d}.npy"

    def record(self, task: Task) -> Path:
        """What came of it."""
        return self.rows(task).with_suffix(".json")

    def places(self, task: Task) -> npt.NDArray[np.int64]:
        """The images that it gets, by their place in the split: training images shuffled, test images as they come."""
        name, number = task
        samples, count = self.samples[name], self.shards[name]
        order = _shuffled(samples, self.seed) if name == "train" else np.arange(samples)
        return order[samples * number // count : samples * (number + 1) // count]


def plan_job(request: Request, images: ImageSet, settings: dict[str, Any], counts: dict[SplitName, int]) -> Job:
    """The job of a request.

    Args:
        request: what is wanted.
        images: what its source holds.
        settings: of the request (`settings_of`).
        counts: shards of each split.
    """
    return Job(
        request.source,
        request.path,
        request.subset,
        request.out,
        Encoding(settings["store"], request.size, request.quality),
        request.seed,
        {name: len(split) for name, split in splits(images)},
        counts,
        request.skip,
    )


def count_shards(request: Request, images: ImageSet, settings: dict[str, Any]) -> dict[SplitName, int]:
    """Shards of each split, by the size of a few of its images, evenly spaced.

    Args:
        request: what is wanted.
        images: what its source holds.
        settings: of the request (`settings_of`).

    Raises:
        ConfigError: there would be too many.
    """
    encoding = Encoding(settings["store"], request.size, request.quality)
    counts: dict[SplitName, int] = {}
    for name, split in splits(images):
        lengths = []
        for place in np.unique(np.linspace(0, len(split) - 1, SAMPLE).astype(np.int64)) if len(split) else ():
            with suppress(BadImage):
                lengths.append(len(encode(images, split, int(place), encoding).data))
        size = OVERHEAD + (sum(lengths) / len(lengths) if lengths else 0)
        counts[name] = min(len(split), math.ceil(len(split) * size / (request.shard_mb * 2**20)))
    if max(counts.values()) > MOST_SHARDS:
        raise ConfigError(
            f"--shard-mb {request.shard_mb}, which makes {max(counts.values()):,} shards",
            f"at most {MOST_SHARDS:,} of a split",
            "choose larger shards",
        )
    return counts


def _shuffled(samples: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(samples)
