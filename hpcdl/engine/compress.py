"""A sum over ranks that travels in 16 bits and is added up in 32."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Collective = Callable[[tf.Tensor, str], tf.Tensor]
"""Works on a flat tensor under a name that is the same on every rank."""


def reducer(
    wire: tf.DType | None, size: int, allreduce: Collective, exchange: Collective, collect: Collective
) -> Collective:
    """What sums a flat tensor over the ranks: float32 compressed where there is a `wire`, all else by `allreduce`.

    Args: see `sum_compressed`.
    """

    def reduce(flat: tf.Tensor, name: str) -> tf.Tensor:
        if wire is None or flat.dtype != tf.float32:
            return allreduce(flat, name)
        return sum_compressed(flat, wire, size, exchange, collect, name)

    return reduce


def sum_compressed(
    flat: tf.Tensor, wire: tf.DType, size: int, exchange: Collective, collect: Collective, name: str
) -> tf.Tensor:
    """Sums a flat float32 tensor over the ranks, sending 2 bytes an element each way.

    Every rank gets its part of the buffer from all ranks (an all-to-all), adds the parts in float32
    and in rank order, and gives the sum to all (an allgather): the traffic of a ring allreduce at
    16 bits, but each element is rounded twice, however many ranks there are.

    Args:
        flat: (n,), float32.
        wire: tf.float16 or tf.bfloat16.
        size: ranks.
        exchange: sends the i-th of `size` equal parts along the first axis to rank i; answers what came, in rank order.
        collect: every rank's tensor, joined along the first axis.
        name: of the call, the same on every rank.
    """
    length = tf.size(flat)
    part = -(-length // size)
    padded = tf.pad(flat, [[0, part * size - length]])
    came = _floats(exchange(_octets(tf.cast(padded, wire)), f"{name}.exchange"), wire)
    own = tf.reduce_sum(tf.reshape(tf.cast(came, tf.float32), [size, part]), axis=0)
    return tf.cast(_floats(collect(_octets(tf.cast(own, wire)), f"{name}.collect"), wire), tf.float32)[:length]


def _octets(values: tf.Tensor) -> tf.Tensor:
    """16-bit floats (n,) as bytes (n, 2): not every library reduces or even knows bfloat16, all send bytes."""
    return tf.bitcast(values, tf.uint8)


def _floats(octets: tf.Tensor, wire: tf.DType) -> tf.Tensor:
    return tf.bitcast(tf.reshape(octets, [-1, 2]), wire)
