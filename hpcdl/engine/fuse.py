"""Many tensors as few flat buffers: a reduction of many small tensors costs latency each.

Buckets follow the order of the backward pass, which ends with the first layers: a bucket can be
reduced while the gradients of the next are still computed, where the engine works beside TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

import numpy as np
import tensorflow as tf

from hpcdl.engine.base import reducible
from hpcdl.engine.compress import Collective


def sum_fused(
    tensors: Sequence[tf.Tensor], reduce: Collective, name: str, bucket_bytes: int, alone: float = inf
) -> list[tf.Tensor]:
    """Sums tensors over ranks through flat buffers of one dtype each, the last tensors first.

    Args:
        tensors: any static or dynamic shapes; the same on every rank.
        reduce: sums one flat tensor, of a dtype that `reducible` answers, over the ranks; it is also
            given a name that tells the buffers of this call apart.
        name: of the call.
        bucket_bytes: a buffer is closed when it holds this much.
        alone: bytes from which on a tensor is reduced where it lies.
    """
    sums: list[tf.Tensor] = list(tensors)
    sizes = [(each.dtype.name, _bytes(each)) for each in tensors]
    for number, places in enumerate(buckets(sizes, bucket_bytes, alone)):
        dtype = tensors[places[0]].dtype
        fused = tf.concat([tf.reshape(tensors[place], [-1]) for place in places], axis=0)
        wide = tf.as_dtype(reducible(np.dtype(dtype.as_numpy_dtype)))
        total = reduce(tf.cast(fused, wide), f"{name}.{number}.{wide.name}.{fused.shape[0]}")
        total = tf.cast(tf.ensure_shape(total, fused.shape), dtype)
        parts = tf.split(total, [tf.size(tensors[place]) for place in places], num=len(places))
        for place, part in zip(places, parts, strict=True):
            sums[place] = tf.ensure_shape(tf.reshape(part, tf.shape(tensors[place])), tensors[place].shape)
    return sums


def buckets(sizes: Sequence[tuple[str, int]], bucket_bytes: int, alone: float = inf) -> Iterator[list[int]]:
    """Places of the tensors in each buffer: one dtype, from the last to the first, closed at bucket_bytes.

    Args:
        sizes: (dtype, bytes) of each tensor.
        bucket_bytes: at least; a tensor is never cut.
        alone: bytes from which on a tensor has a buffer for itself, which needs no copy.
    """
    for dtype in dict.fromkeys(kind for kind, _ in reversed(sizes)):
        held, places = 0, list[int]()
        for place in reversed([at for at, (kind, _) in enumerate(sizes) if kind == dtype]):
            if sizes[place][1] >= alone:
                yield [place]
                continue
            places.append(place)
            held += sizes[place][1]
            if held >= bucket_bytes:
                yield places
                held, places = 0, []
        if places:
            yield places


def _bytes(tensor: tf.Tensor) -> int:
    return int(tensor.dtype.size * (tensor.shape.num_elements() or 1))
