"""One rank alone: every collective is the identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from hpcdl.engine.base import BUCKET_BYTES


class SingleEngine:
    """A world of one."""

    name = "single"
    overlaps = False
    rank = 0
    size = 1
    bucket_bytes = BUCKET_BYTES

    def sum_tensors(
        self, tensors: Sequence[tf.Tensor], name: str = "gradients", wire: tf.DType | None = None
    ) -> list[tf.Tensor]:
        return list(tensors)

    def sum_array(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array

    def broadcast_array(self, array: npt.NDArray[Any], root: int) -> npt.NDArray[Any]:
        return array

    def gather_objects(self, value: Any) -> list[Any]:
        return [value]

    def barrier(self) -> None:
        """Nobody to wait for."""

    def abort(self) -> None:
        """Nobody else to end."""
