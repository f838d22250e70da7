"""The protocol that every engine fills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

BUCKET_BYTES = 25 * 2**20
"""As PyTorch's DDP: large enough for full bandwidth, small enough to begin while the backward pass goes on."""


class Engine(Protocol):
    """Collectives over all ranks. Every method is called by every rank, in the same order."""

    @property
    def name(self) -> str:
        """The name that the command line takes: "horovod", "mpi" or "single"."""

    @property
    def rank(self) -> int:
        """This rank, as the engine itself counts."""

    @property
    def size(self) -> int:
        """The world size, as the engine itself counts."""

    bucket_bytes: int
    """Tensors are summed in buffers of about this size."""

    @property
    def overlaps(self) -> bool:
        """Whether it reduces beside TensorFlow's computation, and does not hold it up."""

    def sum_tensors(
        self, tensors: Sequence[tf.Tensor], name: str = "gradients", wire: tf.DType | None = None
    ) -> list[tf.Tensor]:
        """Sums each tensor over the ranks, through flat buffers.

        Works eagerly and inside tf.function. Shapes and dtypes are kept; they must be the same
        on every rank.

        Args:
            tensors: what to sum.
            name: joins what the ranks submit; two sums that may be under way at once need two names.
            wire: tf.float16 or tf.bfloat16, in which float32 tensors travel; None sends them as they are.
        """

    def sum_array(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Sums an array over the ranks, on the host."""

    def broadcast_array(self, array: npt.NDArray[Any], root: int) -> npt.NDArray[Any]:
        """Root's array on every rank; shape and dtype must agree."""

    def gather_objects(self, value: Any) -> list[Any]:
        """Every rank's value, in rank order, on every rank."""

    def barrier(self) -> None:
        """Returns when every rank has called it."""

    def abort(self) -> None:
        """Ends every rank at once; called when this one cannot go on."""


def reducible(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which a sum over ranks is made: MPI has no 16-bit floats and no booleans."""
    if dtype.itemsize == 2 and dtype.kind in "fV":  # bfloat16 is a kind of its own to numpy
        return np.dtype(np.float32)
    return np.dtype(np.int32) if dtype.kind == "b" else dtype


def octets(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The array's bytes where they lie, (bytes,): a library that moves them need not know the dtype."""
    return array.reshape(-1).view(np.uint8)
