"""This rank's part of a user's data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import tensorflow as tf

from hpcdl.data.order import even_share, permutation
from hpcdl.errors import ConfigError
from hpcdl.training.session import current
from hpcdl.world import World

DATASET_BUFFER = 100_000


def shard(data: Any, global_batch: int, *, shuffle: bool = True, seed: int = 0) -> tf.data.Dataset:
    """This rank's batches of each epoch.

    All ranks draw the same global batches, in the same order whatever their number, and each
    takes its own part; every sample is seen exactly once an epoch. Where the last batch of an
    epoch is smaller, all batches carry sample weights, which make the mean over ranks the mean
    over that batch's samples.

    Args:
        data: a tuple (x, y) of arrays or nests of arrays with one length, or an unbatched
            tf.data.Dataset of (x, y) pairs that gives every rank the same elements in the same order.
        global_batch: samples an update over all ranks; a multiple of the world size.
        shuffle: draw a new order every epoch, from `seed`. Arrays are shuffled whole; a dataset goes
            through a buffer of 100,000 elements, for which the ranks' global seeds must agree.
        seed: the same on every rank.

    Returns:
        Batches (x, y), or (x, y, sample_weight), of global_batch / world size samples.

    Raises:
        ConfigError: global_batch is not a positive multiple of the world size, the data are empty or
            of different lengths, or a dataset is to be shuffled under different global seeds.
        WorldError: `hpcdl.init` was not called.
    """
    world = current().world
    if global_batch < 1 or global_batch % world.size:
        raise ConfigError(
            f"global_batch={global_batch} on {world.size} ranks",
            "a positive multiple of the world size",
            f"for example global_batch={max(1, round(global_batch / world.size)) * world.size}",
        )
    if isinstance(data, tf.data.Dataset):
        return _of_dataset(data, global_batch, shuffle=shuffle, seed=seed)
    return _of_arrays(data, global_batch, shuffle=shuffle, seed=seed)


def _of_arrays(data: Any, global_batch: int, *, shuffle: bool, seed: int) -> tf.data.Dataset:
    if not isinstance(data, tuple) or len(data) != 2:
        raise ConfigError(
            type(data).__name__, "(x, y) arrays or an unbatched tf.data.Dataset", "pass hpcdl.shard((x, y), …)"
        )
    with tf.device("/CPU:0"):  # a GPU gets batches, not the set
        arrays = tf.nest.map_structure(tf.convert_to_tensor, data)
    if any(array.shape.rank == 0 for array in tf.nest.flatten(arrays)):
        raise ConfigError("a list of numbers, or a number", "NumPy arrays", "pass np.asarray(x)")
    lengths = {int(array.shape[0]) for array in tf.nest.flatten(arrays)}
    if len(lengths) != 1 or lengths == {0}:
        raise ConfigError(f"arrays of lengths {sorted(lengths)}", "one length, at least 1", "check x and y")
    samples, world, epochs = lengths.pop(), current().world, count()

    def places() -> Iterator[tuple[Any, float]]:
        order = permutation(samples, seed, next(epochs)) if shuffle else np.arange(samples)
        for begin in range(0, samples, global_batch):
            batch = order[begin : begin + global_batch]
            part, weight = even_share(len(batch), world.rank, world.size)
            yield batch[part.start : part.stop], weight

    def fetch(at: tf.Tensor, weight: tf.Tensor) -> Any:
        x, y = tf.nest.map_structure(lambda array: tf.gather(array, at), arrays)
        return (x, y) if samples % global_batch == 0 else (x, y, tf.fill([tf.shape(at)[0]], weight))

    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.float32))
    batches = tf.data.Dataset.from_generator(places, output_signature=signature)
    known = batches.apply(tf.data.experimental.assert_cardinality(-(-samples // global_batch)))
    return known.map(fetch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def _of_dataset(data: tf.data.Dataset, global_batch: int, *, shuffle: bool, seed: int) -> tf.data.Dataset:
    if not isinstance(data.element_spec, tuple) or len(data.element_spec) != 2:
        raise ConfigError(f"a dataset of {data.element_spec}", "a dataset of (x, y)", "map it to pairs first")
    session, size = current(), int(data.cardinality())
    if shuffle:
        # TensorFlow's shuffle mixes its global seed in: ranks with other ones would draw other orders.
        seeds = session.engine.gather_objects(tf.compat.v1.get_seed(seed))
        if len(set(seeds)) > 1:
            raise ConfigError(
                f"global seeds {[first for first, _ in seeds]} by rank",
                "one global seed on all ranks where a dataset is shuffled",
                "call tf.random.set_seed with the same seed on every rank, or pass arrays",
            )
        data = data.shuffle(DATASET_BUFFER, seed=seed, reshuffle_each_iteration=True)
    table = tf.constant([_bounds(number, session.world) for number in range(global_batch + 1)], tf.float32)

    def mine(*batch: Any) -> Any:
        start, stop, weight = tf.unstack(table[tf.shape(tf.nest.flatten(batch)[0])[0]])
        begin, end = tf.cast(start, tf.int32), tf.cast(stop, tf.int32)
        x, y = tf.nest.map_structure(lambda values: values[begin:end], batch)
        even = size > 0 and size % global_batch == 0
        return (x, y) if even else (x, y, tf.fill([end - begin], weight))

    parts = data.batch(global_batch).map(mine, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    options.deterministic = True
    return parts.prefetch(2).with_options(options)


def _bounds(number: int, world: World) -> tuple[int, int, float]:
    """even_share of a batch of that many samples, as a row of a table."""
    if number == 0:
        return 0, 0, 0.0
    part, weight = even_share(number, world.rank, world.size)
    return part.start, part.stop, weight
