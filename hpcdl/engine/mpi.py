"""MPI through mpi4py: gradients are fused into one buffer a dtype and reduced by one Allreduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from mpi4py import MPI

from hpcdl.engine.base import reducible
from hpcdl.engine.fuse import sum_fused


class MpiEngine:
    """Collectives of MPI.COMM_WORLD."""

    name = "mpi"

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()

    def sum_tensors(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        # Stateful: TensorFlow keeps the order, so that two buffers of one rank never cross.
        return sum_fused(tensors, lambda flat: tf.numpy_function(self._allreduce, [flat], flat.dtype, stateful=True))

    def sum_array(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self._allreduce(np.asarray(array, dtype=reducible(array.dtype))).astype(array.dtype)

    def broadcast_array(self, array: npt.NDArray[Any], root: int) -> npt.NDArray[Any]:
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

    def _allreduce(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        own = np.asarray(array, order="C")
        total = np.empty_like(own)
        self._comm.Allreduce(own, total, op=MPI.SUM)
        return total
