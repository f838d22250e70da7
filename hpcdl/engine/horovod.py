"""Horovod's core operations. Its Keras wrapper does nothing under Keras 3 and is not used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import horovod.tensorflow as hvd
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpcdl.engine.base import BUCKET_BYTES, octets, reducible
from hpcdl.engine.compress import reducer
from hpcdl.engine.fuse import sum_fused


class HorovodEngine:
    """Collectives of Horovod's global process set."""

    name = "horovod"
    overlaps = True

    def __init__(self) -> None:
        hvd.init()
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        self.bucket_bytes = BUCKET_BYTES

    def sum_tensors(
        self, tensors: Sequence[tf.Tensor], name: str = "gradients", wire: tf.DType | None = None
    ) -> list[tf.Tensor]:
        # Buffers of our own beat Horovod's fusion of one operation a tensor: fewer wake-ups of its
        # thread on a core that computes.
        # The name joins what ranks submit. The default, the name in the graph, would part ranks that
        # traced different graphs, as they do where a ragged batch gives one of them less; so would name
        # scopes, in which Keras counts what a process has built.
        reduce = reducer(wire, self.size, _allreduce, _alltoall, _allgather)
        return sum_fused(tensors, lambda flat, label: reduce(self._unfolded(flat), label), name, self.bucket_bytes)

    def _unfolded(self, flat: tf.Tensor) -> tf.Tensor:
        """The same tensor, of which TensorFlow cannot know that it is constant, as a rank's without images is.

        Horovod does not tell TensorFlow that its operations have effects, so those of constants would be
        computed once, when the graph is optimised, and the other ranks would wait for ever after that
        (https://github.com/horovod/horovod/issues/3229). A slice that is all of the tensor copies nothing.
        """
        return tf.slice(flat, self._start, [-1])

    @cached_property
    def _start(self) -> tf.Variable:
        """[0]; made late, for TensorFlow must not start before the GPU is chosen."""
        with tf.init_scope(), tf.device("/CPU:0"):
            return tf.Variable([0], trainable=False)

    def sum_array(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        wide = np.asarray(array, dtype=reducible(array.dtype))
        total: npt.NDArray[Any] = hvd.allreduce(tf.constant(wide), op=hvd.Sum, name="hpcdl.sum").numpy()
        return total.astype(array.dtype)

    def broadcast_array(self, array: npt.NDArray[Any], root: int) -> npt.NDArray[Any]:
        data = tf.constant(octets(np.asarray(array, order="C")))
        received: npt.NDArray[Any] = hvd.broadcast(data, root_rank=root, name="hpcdl.broadcast").numpy()
        return received.view(array.dtype).reshape(array.shape)

    def gather_objects(self, value: Any) -> list[Any]:
        return list(hvd.allgather_object(value, name="hpcdl.gather"))

    def barrier(self) -> None:
        self.sum_array(np.zeros(1, np.float32))  # hvd.barrier is not part of its TensorFlow module

    def abort(self) -> None:
        # Horovod has no abort of its own. A rank that leaves with an error makes the launcher end
        # the others; leaving without the shutdown handshake keeps them from waiting for it.
        os._exit(1)


def _allreduce(flat: tf.Tensor, label: str) -> tf.Tensor:
    return hvd.allreduce(flat, op=hvd.Sum, name=f"hpcdl.{label}", ignore_name_scope=True)


def _alltoall(octets: tf.Tensor, label: str) -> tf.Tensor:
    return hvd.alltoall(octets, name=f"hpcdl.{label}", ignore_name_scope=True)


def _allgather(octets: tf.Tensor, label: str) -> tf.Tensor:
    return hvd.allgather(octets, name=f"hpcdl.{label}", ignore_name_scope=True)
