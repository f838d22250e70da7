"""Who gets which sample: pure functions of seed, epoch and batch sizes; the rank only picks its part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hpcdl.data.philox import philox

Numbers = npt.NDArray[np.int64]
FEISTEL_ROUNDS = 10
# What random numbers are for: the last word of their counters.
ORDER, AUGMENTATION = 0, 1


def order(places: Numbers, samples: int, seed: int, epoch: int) -> Numbers:
    """The samples at some places of an epoch's order, a permutation of range(samples).

    Computed place by place, so neither memory nor the way to a place grows with the set: a Feistel
    network over a grid of rows and columns that is little larger than the set, and again for the few
    places that it leads outside (Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains",
    sections 3 and 4; here each round moves one of the two halves).

    Args:
        places: in the order, from 0; any shape of one axis.
        samples: of the set, below 2^40.
        seed: the recipe's, below 2^32.
        epoch: from 0, below 2^32.
    """
    columns = math.isqrt(max(samples - 1, 0)) + 1
    rows = max(1, -(-samples // columns))
    down, across = _words(rows, columns, seed, epoch)
    found = places.copy()
    outside = np.arange(len(found))
    while len(outside):
        row, column = np.divmod(found[outside], columns)
        for of_row, of_column in zip(down, across, strict=True):
            row = _around(row + of_row[column], rows)
            column = _around(column + of_column[row], columns)
        found[outside] = row * columns + column
        outside = outside[found[outside] >= samples]
    return found


@lru_cache(maxsize=2)
def _words(rows: int, columns: int, seed: int, epoch: int) -> tuple[Numbers, Numbers]:
    """What each round of the Feistel network adds to a row, for each column, and to a column, for each row.

    There are as few of either as a root of the samples, so a table costs less than a word a place.
    """
    rounds = np.arange(FEISTEL_ROUNDS, dtype=np.uint32)[:, np.newaxis]
    of_column, of_row = np.arange(columns, dtype=np.uint32), np.arange(rows, dtype=np.uint32)
    down = philox((of_column, rounds[0::2], 0, ORDER), (seed, epoch))[0].astype(np.int64) % rows
    across = philox((of_row, rounds[1::2], 0, ORDER), (seed, epoch))[0].astype(np.int64) % columns
    return down, across


def _around(places: Numbers, end: int) -> Numbers:
    """places modulo end, for places below 2 x end."""
    return np.where(places < end, places, places - end)


def permutation(samples: int, seed: int, epoch: int) -> Numbers:
    """The whole order of an epoch."""
    return order(np.arange(samples), samples, seed, epoch)


def draws(samples: Numbers, count: int, seed: int, epoch: int) -> npt.NDArray[np.float32]:
    """Random numbers of samples in an epoch: (len(samples), count), uniform in [0, 1) with 24 bits.

    Args:
        samples: their numbers in the set.
        count: numbers a sample.
        seed: the recipe's, below 2^32.
        epoch: from 0, below 2^32.
    """
    high, low = (samples >> 32).astype(np.uint32), samples.astype(np.uint32)
    blocks = [philox((low, high, block, AUGMENTATION), (seed, epoch)) for block in range(-(-count // 4))]
    words = np.stack([word for block in blocks for word in block] or [low], axis=1)[:, :count]
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def alternating(first: npt.NDArray[np.float32], epoch: int) -> npt.NDArray[np.float32]:
    """Draws that are below 0.5 in every second epoch: those of epoch 0, moved by half the range and around its end.

    For flips that show each image both ways in any two epochs (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds",
    section 3.6).
    """
    return (first + np.float32(0.5 * (epoch % 2))) % np.float32(1)


def hold_out(samples: int, share: float) -> tuple[Numbers, Numbers]:
    """Samples to train with, and samples held out: every so many-th one, for sets may be sorted by class.

    Args:
        samples: of the set.
        share: that is held out, below 1; rounded to whole samples.
    """
    count = round(samples * share)
    held_out = (np.arange(count) * samples + samples // 2) // max(count, 1)
    return np.setdiff1d(np.arange(samples), held_out), held_out


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
    found = [draw.integers(2**32, size=(layers, 2), dtype=np.uint32) for draw in draws]
    return np.array(found, np.uint32).reshape(-1, layers, 2)
