"""Many tensors as one buffer a dtype, reduced once: a reduction of many small tensors costs latency each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from hpcdl.engine.base import reducible


def sum_fused(tensors: Sequence[tf.Tensor], reduce: Callable[[tf.Tensor], tf.Tensor]) -> list[tf.Tensor]:
    """Sums tensors over ranks through flat buffers, one for each dtype, in the order of first appearance.

    Args:
        tensors: any shapes; the same on every rank.
        reduce: sums one flat tensor, of a dtype that `reducible` answers, over the ranks.
    """
    by_dtype: dict[tf.DType, list[int]] = {}
    for place, tensor in enumerate(tensors):
        by_dtype.setdefault(tensor.dtype, []).append(place)
    sums: list[tf.Tensor] = list(tensors)
    for dtype, places in by_dtype.items():
        fused = tf.concat([tf.reshape(tensors[place], [-1]) for place in places], axis=0)
        wide = tf.as_dtype(reducible(np.dtype(dtype.as_numpy_dtype)))
        total = tf.cast(tf.ensure_shape(reduce(tf.cast(fused, wide)), fused.shape), dtype)
        parts = tf.split(total, [tf.size(tensors[place]) for place in places], num=len(places))
        for place, part in zip(places, parts, strict=True):
            sums[place] = tf.ensure_shape(tf.reshape(part, tf.shape(tensors[place])), tensors[place].shape)
    return sums
