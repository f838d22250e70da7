"""Sums by mpi4py alone, without TensorFlow: what an engine's are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from mpi4py import MPI


class PlainMpi:
    """MPI.COMM_WORLD, of which numpy arrays are summed in place."""

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()

    @property
    def library(self) -> str:
        """What the MPI library says of itself, in a line."""
        return MPI.Get_library_version().strip("\0 \n").splitlines()[0]

    def sum_in_place(self, array: npt.NDArray[np.float32]) -> None:
        """Every rank's array becomes the sum over all ranks."""
        self._comm.Allreduce(MPI.IN_PLACE, array, op=MPI.SUM)

    def gather_objects(self, value: Any) -> list[Any]:
        """Every rank's value, in rank order, on every rank."""
        return list(self._comm.allgather(value))

    def barrier(self) -> None:
        """Returns when every rank has called it."""
        self._comm.Barrier()

    def abort(self) -> None:
        """Ends every rank at once."""
        self._comm.Abort(1)
