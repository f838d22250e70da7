"""Who gets which sample: pure functions of seed, epoch and batch sizes; the rank only picks its part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def permutation(samples: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of an epoch: a permutation of range(samples) that (seed, epoch) fixes."""
    return np.random.default_rng([seed, epoch, 0]).permutation(samples)


@dataclass(frozen=True)
class Share:
    """One rank's part of one update: places start … stop of the epoch's order."""

    start: int
    stop: int
    first: int = 0
    """Number of its first micro-batch among the update's."""
    micros: int = 1
    """Micro-batches of the update, over all ranks."""


def shares(samples: int, global_batch: int, micro_batch: int, rank: int, size: int) -> list[Share]:
    """A rank's part of every update of an epoch.

    An update takes the next `global_batch` places, cut into micro-batches of `micro_batch`; ranks
    take contiguous runs of whole micro-batches, as even as their number allows. The last update
    holds what is left; a rank may get nothing of it.
    """
    parts = []
    for begin in range(0, samples, global_batch):
        count = min(global_batch, samples - begin)
        micros = -(-count // micro_batch)
        first, after = micros * rank // size, micros * (rank + 1) // size
        start, stop = (begin + min(micro * micro_batch, count) for micro in (first, after))
        parts.append(Share(start, stop, first, micros))
    return parts


def even_share(count: int, rank: int, size: int) -> tuple[Share, float]:
    """A rank's part of a batch of `count` samples, and the weight of each sample in it.

    A mean over the part, times the weight, averaged over ranks, is the mean over the batch. Where
    there are fewer samples than ranks, a rank without one takes a copy with weight 0: every rank
    must take part in the reduction.
    """
    start, stop = count * rank // size, count * (rank + 1) // size
    if start == stop:
        copy = min(start, count - 1)
        return Share(copy, copy + 1), 0.0
    return Share(start, stop), (stop - start) * size / count


def augmentation(samples: int, seed: int, epoch: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Each sample's random change in an epoch: crop offsets (samples, 2) in 0 … 8 pixels, and flips (samples,)."""
    random = np.random.default_rng([seed, epoch, 1])
    return random.integers(0, 9, size=(samples, 2), dtype=np.int32), random.random(samples) < 0.5


def layer_seeds(layers: int, seed: int, epoch: int, update: int, share: Share, rows: int) -> npt.NDArray[np.uint32]:
    """Where each random layer starts to draw in each of a rank's micro-batches: (rows, layers, 2).

    Args:
        layers: random layers of the network, dropout for example.
        seed: the recipe's.
        epoch: from 0.
        update: of the epoch, from 0.
        share: the rank's part of that update.
        rows: the rank's micro-batches in it.
    """
    if not layers:
        return np.zeros((rows, 0, 2), np.uint32)
    draws = [np.random.default_rng([seed, epoch, 2, update, share.first + row]) for row in range(rows)]
    return np.array([draw.integers(2**32, size=(layers, 2), dtype=np.uint32) for draw in draws]).reshape(-1, layers, 2)
