"""This rank's part of a user's data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from hpcdl.errors import ConfigError
from hpcdl.training.session import current


def shard(data: Any, global_batch: int, *, shuffle: bool = True, seed: int = 0) -> tf.data.Dataset:
    """This rank's batches of each epoch.

    All ranks draw the same global batches, in the same order whatever their number, and each
    takes its own part; every sample is seen exactly once an epoch. Where the last batch of an
    epoch is smaller, all batches carry sample weights, which make the mean over ranks the mean
    over that batch's samples.

    Args:
        data: a tuple (x, y) of arrays or nests of arrays with one length, or an unbatched
            tf.data.Dataset of (x, y) pairs.
        global_batch: samples an update over all ranks; a multiple of the world size.
        shuffle: draw a new order every epoch, from `seed`. Arrays are shuffled whole, a dataset
            through a buffer of 100,000 elements.
        seed: the same on every rank.

    Returns:
        Batches (x, y), or (x, y, sample_weight), of global_batch / world size samples.

    Raises:
        ConfigError: global_batch is not a positive multiple of the world size, or the data are empty
            or of different lengths.
        WorldError: `hpcdl.init` was not called.
    """
    world = current().world
    if global_batch < 1 or global_batch % world.size:
        raise ConfigError(
            f"global_batch={global_batch} on {world.size} ranks",
            "a positive multiple of the world size",
            f"for example global_batch={max(1, round(global_batch / world.size)) * world.size}",
        )
    samples, fetch = _samples(data)
    size = int(samples.cardinality())
    if shuffle:
        samples = samples.shuffle(size if fetch else 100_000, seed=seed, reshuffle_each_iteration=True)

    def mine(*batch: Any) -> Any:
        count = tf.shape(tf.nest.flatten(batch)[0])[0]
        start, stop, weight = _share(count, world.rank, world.size)
        part = tf.nest.map_structure(lambda values: values[start:stop], batch)
        x, y = fetch(part[0]) if fetch else part
        return (x, y) if even else (x, y, tf.fill([stop - start], weight))

    even = size > 0 and size % global_batch == 0
    return samples.batch(global_batch).map(mine, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def _share(count: tf.Tensor, rank: int, size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A rank's part of a batch of `count` samples, and the weight of each sample in it.

    A mean over the part, times the weight, averaged over ranks, is the mean over the batch.
    Where there are fewer samples than ranks, a rank without one takes a copy with weight 0:
    every rank must take part in the reduction.
    """
    start, stop = count * rank // size, count * (rank + 1) // size
    weight = tf.cast((stop - start) * size, tf.float32) / tf.cast(count, tf.float32)
    copy = tf.minimum(start, count - 1)
    empty = start == stop
    return tf.where(empty, copy, start), tf.where(empty, copy + 1, stop), weight


def _samples(data: Any) -> tuple[tf.data.Dataset, Any]:
    """The samples in order: a dataset of places with the function that looks them up, or the user's own."""
    if isinstance(data, tf.data.Dataset):
        if not isinstance(data.element_spec, tuple) or len(data.element_spec) != 2:
            raise ConfigError(f"a dataset of {data.element_spec}", "a dataset of (x, y)", "map it to pairs first")
        return data, None
    if not isinstance(data, tuple) or len(data) != 2:
        raise ConfigError(
            type(data).__name__, "(x, y) arrays or an unbatched tf.data.Dataset", "pass hpcdl.shard((x, y), …)"
        )
    arrays = tf.nest.map_structure(tf.convert_to_tensor, data)
    lengths = {int(array.shape[0]) for array in tf.nest.flatten(arrays)}
    if len(lengths) != 1 or lengths == {0}:
        raise ConfigError(f"arrays of lengths {sorted(lengths)}", "one length, at least 1", "check x and y")

    def fetch(places: tf.Tensor) -> Any:
        return tf.nest.map_structure(lambda array: tf.gather(array, places), arrays)

    return tf.data.Dataset.range(lengths.pop()), fetch
