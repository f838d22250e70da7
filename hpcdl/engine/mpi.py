"""MPI through mpi4py: large gradients are reduced where they lie, small ones through flat buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from mpi4py import MPI

from hpcdl.engine.aligned import Arrays
from hpcdl.engine.base import BUCKET_BYTES, octets, reducible
from hpcdl.engine.compress import Collective, reducer
from hpcdl.engine.fuse import sum_fused
from hpcdl.engine.nodewise import NodeWise

Array = npt.NDArray[Any]
LARGE = 2**18
"""Bytes from which on a message costs its length, and a copy more than one more call of Python."""


class MpiEngine:
    """Collectives of MPI.COMM_WORLD."""

    name = "mpi"
    overlaps = False

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        self.bucket_bytes = BUCKET_BYTES
        self._nodewise, self._arrays = NodeWise(self._comm), Arrays()

    def sum_tensors(
        self, tensors: Sequence[tf.Tensor], name: str = "gradients", wire: tf.DType | None = None
    ) -> list[tf.Tensor]:
        allreduce, exchange, collect = map(self._op, (self._allreduce, self._exchange, self._collect))
        reduce = reducer(wire, self.size, allreduce, exchange, collect)
        return sum_fused(tensors, reduce, name, self.bucket_bytes, alone=LARGE)

    def sum_array(self, array: Array) -> Array:
        return self._allreduce(np.asarray(array, dtype=reducible(array.dtype))).astype(array.dtype)

    def broadcast_array(self, array: Array, root: int) -> Array:
        own = np.asarray(array, order="C")
        data = own if self.rank == root else np.empty_like(own)
        self._comm.Bcast(octets(data), root=root)
        return data

    def gather_objects(self, value: Any) -> list[Any]:
        return list(self._comm.allgather(value))

    def barrier(self) -> None:
        self._comm.Barrier()

    def abort(self) -> None:
        self._comm.Abort(1)

    def _op(self, collective: Callable[[Array], Array]) -> Collective:
        """A collective on arrays as one on tensors. Stateful: TensorFlow keeps the order, the same on every rank."""
        return lambda tensor, label: tf.numpy_function(collective, [tensor], tensor.dtype, stateful=True)

    def _exchange(self, own: Array) -> Array:
        came = self._arrays.take(own.shape, own.dtype)
        self._comm.Alltoall(np.ascontiguousarray(own), came)
        return came

    def _collect(self, own: Array) -> Array:
        every = self._arrays.take((self.size * len(own), *own.shape[1:]), own.dtype)
        self._comm.Allgather(np.ascontiguousarray(own), every)
        return every

    def _allreduce(self, array: Array) -> Array:
        own = np.asarray(array, order="C")
        total = self._arrays.take(own.shape, own.dtype)
        self._nodewise.sum(own.reshape(-1), total.reshape(-1))
        return total
