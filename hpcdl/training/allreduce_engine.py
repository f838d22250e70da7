"""Sums by an engine, as training asks it for them: in a tf.function, on float32 tensors that become one buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from hpcdl.engine.base import Engine
from hpcdl.training.distribute import WIRES
from hpcdl.training.timed import PATTERN, Timed, shares

ALLOWED = {"none": PATTERN * 1e-5, "fp16": PATTERN * 2.0**-9, "bf16": PATTERN * 2.0**-6}
"""Both 16-bit types round twice, by 2^-11 and 2^-8 of the value at most."""


def engine_sums(engine: Engine, sizes: Sequence[int], compressions: Sequence[str]) -> list[Timed]:
    """Each size in each compression.

    Two tensors of half the bytes are summed, so that they are joined and parted again as gradients are, which copies
    all bytes twice. Buffers are closed at 25 MiB, so halves above that travel in two.
    """
    tf.get_logger().setLevel("ERROR")  # it warns of one function a size
    return [_timed(engine, size, compression) for size in sizes for compression in compressions]


def _timed(engine: Engine, size: int, compression: str) -> Timed:
    own, total = shares(size // 4, engine.rank, engine.size)
    cut = len(own) // 2
    parts = [tf.constant(own[:cut]), tf.constant(own[cut:])]
    summed = _summed(engine, f"bench.{size}.{compression}", WIRES[compression])

    def error() -> float:
        found = np.concatenate([part.numpy() for part in summed(parts)])
        return float(np.abs(found - total).max())

    def call() -> None:
        summed(parts)
        tf.test.experimental.sync_devices()  # GPUs work behind the call's back

    return Timed(engine.name, compression, size, error, ALLOWED[compression], call)


def _summed(engine: Engine, name: str, wire: tf.DType | None) -> Callable[[list[tf.Tensor]], list[tf.Tensor]]:
    def summed(parts: list[tf.Tensor]) -> list[tf.Tensor]:
        return engine.sum_tensors(parts, name, wire)

    function: Callable[[list[tf.Tensor]], list[tf.Tensor]] = tf.function(summed, autograph=False)
    return function
