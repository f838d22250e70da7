"""Evaluation and prediction by all ranks: each computes its part, and every rank gets the whole answer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hpcdl.data.order import even_share
from hpcdl.training.callbacks import callbacks
from hpcdl.training.session import current
from hpcdl.training.shard import shard


def evaluate(model: keras.Model, data: Any, global_batch: int = 256) -> dict[str, float]:
    """Loss and metrics over all samples, each counted once; every rank calls it.

    Args:
        model: compiled, with the same weights on every rank.
        data: as `shard` takes it: (x, y), for example.
        global_batch: samples a step over all ranks.

    Returns:
        What `model.evaluate(…, return_dict=True)` answers in one process, on every rank.

    Raises:
        ConfigError: see `shard`.
    """
    parts = shard(data, global_batch, shuffle=False)
    answer: dict[str, float] = model.evaluate(parts, callbacks=callbacks(), verbose=0, return_dict=True)
    return answer


def predict(model: keras.Model, x: Any, global_batch: int = 256) -> Any:
    """The model's outputs for all samples, in order; every rank calls it.

    Args:
        model: with the same weights on every rank.
        x: inputs as `shard` takes them: an array, a dictionary of arrays, or an unbatched tf.data.Dataset.
        global_batch: samples a step over all ranks.

    Returns:
        What `model.predict(x)` answers in one process, on every rank: an array, or a nest of arrays.

    Raises:
        ConfigError: see `shard`.
    """
    session = current()
    inputs = (x,) if isinstance(x, list | tuple) else x
    parts = shard(inputs, global_batch, shuffle=False)
    mine = parts.filter(lambda *batch: tf.shape(tf.nest.flatten(batch)[0])[0] > 0)
    own = model.predict(mine, verbose=0) if any(True for _ in mine.take(1)) else None
    everyone = session.engine.gather_objects(own)
    return tf.nest.map_structure(
        lambda *outputs: in_order([np.asarray(each) for each in outputs], global_batch),
        *_filled(everyone),
    )


def in_order(parts: list[np.ndarray[Any, Any]], global_batch: int) -> np.ndarray[Any, Any]:
    """Rows of all ranks in the order of the samples.

    Args:
        parts: by rank, (samples of the rank, …): its even_share of each global batch, one after the other.
        global_batch: samples of every batch but the last.
    """
    size, samples = len(parts), sum(map(len, parts))
    taken = [0] * size
    rows = []
    for begin in range(0, samples, global_batch):
        for rank in range(size):
            part, weight = even_share(min(global_batch, samples - begin), rank, size)
            length = part.stop - part.start if weight else 0
            rows.append(parts[rank][taken[rank] : taken[rank] + length])
            taken[rank] += length
    return np.concatenate(rows)


def _filled(everyone: list[Any]) -> list[Any]:
    """Outputs by rank; a rank without samples has the structure of the others and no rows."""
    some = next(each for each in everyone if each is not None)
    return [tf.nest.map_structure(lambda rows: rows[:0], some) if each is None else each for each in everyone]
