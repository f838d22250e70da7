"""MPI through mpi4py: large gradients are reduced where they lie, small ones in one message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from mpi4py import MPI

from hpcdl.engine.aligned import ALIGNMENT, aligned
from hpcdl.engine.base import BUCKET_BYTES, reducible
from hpcdl.engine.compress import Collective, reducer
from hpcdl.engine.fuse import sum_fused

Array = npt.NDArray[Any]
LARGE = 2**18
"""Bytes from which on a message costs its length, and little more for being one of many."""


class MpiEngine:
    """Collectives of MPI.COMM_WORLD."""

    name = "mpi"
    overlaps = False

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        self.bucket_bytes = BUCKET_BYTES

    def sum_tensors(
        self, tensors: Sequence[tf.Tensor], name: str = "gradients", wire: tf.DType | None = None
    ) -> list[tf.Tensor]:
        if wire is not None:
            allreduce, exchange, collect = map(self._op, (self._allreduce, self._exchange, self._collect))
            return sum_fused(tensors, reducer(wire, self.size, allreduce, exchange, collect), name, self.bucket_bytes)
        kinds = [tf.as_dtype(reducible(np.dtype(each.dtype.as_numpy_dtype))) for each in tensors]
        wide = [tf.cast(each, kind) for each, kind in zip(tensors, kinds, strict=True)]
        # One call of Python for all of them, which need no flat buffer of TensorFlow's: that is two copies.
        # Outside of graphs TensorFlow answers a single one without its list.
        sums = tf.nest.flatten(tf.numpy_function(self._sum, wide, kinds, stateful=True)) if tensors else []
        return [
            tf.cast(tf.ensure_shape(total, each.shape), each.dtype) for total, each in zip(sums, tensors, strict=True)
        ]

    def sum_array(self, array: Array) -> Array:
        return self._allreduce(np.asarray(array, dtype=reducible(array.dtype))).astype(array.dtype)

    def broadcast_array(self, array: Array, root: int) -> Array:
        # As bytes: MPI need not know the dtype.
        data = np.frombuffer(bytearray(np.ascontiguousarray(array).tobytes()), dtype=np.uint8)
        self._comm.Bcast(data, root=root)
        return data.view(array.dtype).reshape(array.shape)

    def gather_objects(self, value: Any) -> list[Any]:
        return list(self._comm.allgather(value))

    def barrier(self) -> None:
        self._comm.Barrier()

    def abort(self) -> None:
        self._comm.Abort(1)

    def _op(self, collective: Callable[[Array], Array]) -> Collective:
        """A collective on arrays as one on tensors. Stateful: TensorFlow keeps the order, the same on every rank."""
        return lambda tensor, label: tf.numpy_function(collective, [tensor], tensor.dtype, stateful=True)

    def _sum(self, *arrays: Array) -> list[Array]:
        """Sums large arrays where they lie, and small ones in one message of each dtype."""
        totals = [self._allreduce(each) if each.nbytes >= LARGE else each for each in arrays]
        for dtype in dict.fromkeys(each.dtype for each in arrays):
            places = [at for at, each in enumerate(arrays) if each.dtype == dtype and each.nbytes < LARGE]
            for at, total in zip(places, self._sum_packed([arrays[at] for at in places]), strict=True):
                totals[at] = total
        return totals

    def _sum_packed(self, arrays: Sequence[Array]) -> list[Array]:
        """Sums arrays of one dtype, each at an address of ALIGNMENT, in one message."""
        if not arrays:
            return []
        step = ALIGNMENT // arrays[0].itemsize
        starts = np.cumsum([0, *(-(-each.size // step) * step for each in arrays)]).tolist()
        own = np.zeros(starts[-1], arrays[0].dtype)
        for start, each in zip(starts, arrays, strict=False):
            own[start : start + each.size] = each.reshape(-1)
        total = self._allreduce(own)
        return [
            total[start : start + each.size].reshape(each.shape) for start, each in zip(starts, arrays, strict=False)
        ]

    def _exchange(self, octets: Array) -> Array:
        came = aligned(octets.shape, octets.dtype)
        self._comm.Alltoall(np.ascontiguousarray(octets), came)
        return came

    def _collect(self, octets: Array) -> Array:
        every = aligned((self.size * len(octets), *octets.shape[1:]), octets.dtype)
        self._comm.Allgather(np.ascontiguousarray(octets), every)
        return every

    def _allreduce(self, array: Array) -> Array:
        own = np.asarray(array, order="C")
        total = aligned(own.shape, own.dtype)
        self._comm.Allreduce(own, total, op=MPI.SUM)
        return total
