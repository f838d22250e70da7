"""This rank's part of a user's data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpcdl.data.order import Numbers, even_share, permutation
from hpcdl.errors import ConfigError
from hpcdl.launch.topology import read_topology
from hpcdl.training.agreement import agree
from hpcdl.training.session import Passes, Session, current
from hpcdl.world import World

DATASET_BUFFER = 100_000
AT_ONCE = 64
"""Batches whose places Python works out at once."""


@dataclass(frozen=True)
class Cut:
    """How data become batches: what `shard` was asked for, and how many samples there are."""

    samples: int
    global_batch: int
    shuffle: bool
    seed: int
    weights: bool


def shard(
    data: Any, global_batch: int, *, shuffle: bool = True, seed: int = 0, weights: bool = False
) -> tf.data.Dataset:
    """This rank's batches of each epoch; every rank calls it, with the same arguments.

    All ranks draw the same global batches, in the same order whatever their number, and each
    takes its own part; every sample is seen exactly once an epoch. Where the last batch of an
    epoch has fewer samples than there are ranks, some get an empty one; `fit` and `evaluate`
    know how many samples a rank brings.

    Args:
        data: arrays of one length, alone or nested as Keras takes them ((x, y), (x, y, sample_weight),
            dictionaries of inputs), or an unbatched tf.data.Dataset of such elements that gives every
            rank the same ones in the same order.
        global_batch: samples an update over all ranks, at least one for each.
        shuffle: draw a new order every epoch, from `seed`. Arrays are shuffled whole; a dataset goes
            through a buffer of 100,000 elements.
        seed: the same on every rank.
        weights: for a training loop of your own: data are (x, y), batches (x, y, sample_weight), whose
            weights make the mean over ranks of a rank's mean the mean over samples; no batch is empty.

    Returns:
        Batches of about global_batch / world size samples.

    Raises:
        ConfigError: global_batch is smaller than the world size, the data are empty or of different
            lengths, or differ between ranks.
        WorldError: `hpcdl.init` was not called.
    """
    session = current()
    if global_batch < session.world.size:
        raise ConfigError(
            f"global_batch={global_batch} on {session.world.size} ranks",
            "at least one sample a rank",
            f"global_batch={session.world.size}, or start fewer ranks",
        )
    samples = _samples(data)
    kind = list(map(str, (type(data).__name__, samples, _spec(data), global_batch, shuffle, seed, weights)))
    agree(session.engine, "the data for hpcdl.shard", kind, "give every rank the same data")
    if weights and not ((isinstance(data, tuple) and len(data) == 2) or _is_pair(data)):
        raise ConfigError(str(_spec(data)), "(x, y) with weights=True", "leave sample weights of your own out")
    uneven = samples % global_batch or global_batch % session.world.size
    if session.world.size > 1 and shuffle and not weights and uneven:
        session.ragged = True
    passes = Passes(kind, -(-samples // global_batch) if samples >= 0 else None)
    session.passes.append(passes)
    of = _of_dataset if isinstance(data, tf.data.Dataset) else _of_arrays
    batches = of(data, Cut(samples, global_batch, shuffle, seed, weights), session, passes)
    options = tf.data.Options()
    options.deterministic = True
    return batches.prefetch(2).with_options(options)


def _of_arrays(data: Any, cut: Cut, session: Session, passes: Passes) -> tf.data.Dataset:
    with tf.device("/CPU:0"):  # a GPU gets batches, not the set
        arrays = tf.nest.map_structure(tf.convert_to_tensor, data)
    world = session.world

    def mine(batches: Numbers) -> tuple[Numbers, npt.NDArray[np.float32]]:
        part, weight = even_share(batches.shape[1], world.rank, world.size)
        stop = part.stop if weight or cut.weights else part.start
        return batches[:, part.start : stop], np.full(len(batches), weight, np.float32)

    def places() -> Iterator[tuple[Numbers, npt.NDArray[np.float32]]]:
        """Several batches of one size at once: what Python hands over costs as much as a small network's step."""
        number = passes.begin()
        order = permutation(cut.samples, cut.seed, number) if cut.shuffle else np.arange(cut.samples)
        whole = cut.samples - cut.samples % cut.global_batch
        even = order[:whole].reshape(-1, cut.global_batch)
        for first in range(0, len(even), AT_ONCE):
            yield mine(even[first : first + AT_ONCE])
        if whole < cut.samples:
            yield mine(order[np.newaxis, whole:])

    def fetch(at: tf.Tensor, weight: tf.Tensor) -> Any:
        if cut.samples % cut.global_batch == 0:  # then the shape is known, which makes a better graph
            whole, _ = even_share(cut.global_batch, world.rank, world.size)
            at = tf.ensure_shape(at, [whole.stop - whole.start])
        mine = tf.nest.map_structure(lambda array: tf.gather(array, at), arrays)
        return (*mine, tf.fill(tf.shape(at), weight)) if cut.weights else mine

    signature = (tf.TensorSpec([None, None], tf.int64), tf.TensorSpec([None], tf.float32))
    groups = tf.data.Dataset.from_generator(places, output_signature=signature)
    batches = groups.flat_map(lambda *group: tf.data.Dataset.from_tensor_slices(group))
    known = batches.apply(tf.data.experimental.assert_cardinality(-(-cut.samples // cut.global_batch)))
    # Beside the network where a rank has a second core; else a thread more costs more than it hides.
    side = {"num_parallel_calls": 2, "deterministic": True} if read_topology().cores >= 2 * world.local_size else {}
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing is left to it, and an epoch's end waits for its thread, 0.1 s and more
    return known.map(fetch, **side).with_options(options)


def _of_dataset(data: tf.data.Dataset, cut: Cut, session: Session, passes: Passes) -> tf.data.Dataset:
    def ordered(number: tf.Tensor) -> tf.data.Dataset:
        if not cut.shuffle:
            return data.batch(cut.global_batch)
        # Of this function's graph alone. TensorFlow mixes the global seed in, which ranks need not have in common.
        tf.random.set_seed(1)
        drawn = tf.random.stateless_uniform([], [tf.constant(cut.seed, tf.int64), number], None, None, tf.int64)
        return data.shuffle(DATASET_BUFFER, seed=drawn, reshuffle_each_iteration=False).batch(cut.global_batch)

    table = tf.constant([_bounds(number, session.world) for number in range(cut.global_batch + 1)], tf.float32)

    def mine(*batch: Any) -> Any:
        start, stop, weight = tf.unstack(table[tf.shape(tf.nest.flatten(batch)[0])[0]])
        begin, end = tf.cast(start, tf.int32), tf.cast(stop, tf.int32)
        if not cut.weights:
            end = tf.where(weight > 0, end, begin)
        part = tf.nest.map_structure(lambda values: values[begin:end], batch)
        if cut.weights:
            return (*part, tf.fill([end - begin], weight))
        return part if isinstance(data.element_spec, tuple) else part[0]

    # A dataset of unknown length may end anywhere, so its batches keep an unknown shape.
    even = cut.samples > 0 and cut.samples % cut.global_batch == 0
    numbers = tf.data.Dataset.from_generator(
        lambda: iter([passes.begin()]), output_signature=tf.TensorSpec([], tf.int64)
    )
    whole_batches = numbers.flat_map(ordered)
    if passes.batches is not None:
        whole_batches = whole_batches.apply(tf.data.experimental.assert_cardinality(passes.batches))
    batches = whole_batches.map(mine, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if not even:
        return batches
    whole, _ = even_share(cut.global_batch, session.world.rank, session.world.size)
    size = whole.stop - whole.start

    def sized(*batch: Any) -> Any:
        fixed = tf.nest.map_structure(lambda values: tf.ensure_shape(values, [size, *values.shape[1:]]), batch)
        return fixed if isinstance(batches.element_spec, tuple) else fixed[0]

    return batches.map(sized, deterministic=True)


def _samples(data: Any) -> int:
    """How many there are; -1 or -2 where a dataset does not know.

    Raises:
        ConfigError: the arrays are no arrays, empty, or of different lengths.
    """
    if isinstance(data, tf.data.Dataset):
        return int(data.cardinality())
    leaves = tf.nest.flatten(data)
    if any(not getattr(leaf, "shape", ()) for leaf in leaves):
        raise ConfigError(
            "a list of numbers, or a number", "NumPy arrays or a tf.data.Dataset", "pass np.asarray(x), for example"
        )
    lengths = {int(leaf.shape[0]) for leaf in leaves}
    if len(lengths) != 1 or lengths == {0}:
        raise ConfigError(f"arrays of lengths {sorted(lengths)}", "one length, at least 1", "check x and y")
    return lengths.pop()


def _spec(data: Any) -> Any:
    """Types and shapes of an element."""
    if isinstance(data, tf.data.Dataset):
        return data.element_spec
    return tf.nest.map_structure(lambda leaf: (str(leaf.dtype), tuple(leaf.shape[1:])), data)


def _is_pair(data: Any) -> bool:
    return isinstance(data, tf.data.Dataset) and isinstance(data.element_spec, tuple) and len(data.element_spec) == 2


def _bounds(number: int, world: World) -> tuple[int, int, float]:
    """even_share of a batch of that many samples, as a row of a table."""
    if number == 0:
        return 0, 0, 0.0
    part, weight = even_share(number, world.rank, world.size)
    return part.start, part.stop, weight
