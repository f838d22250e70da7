"""The average of gradients over ranks."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from hpcdl.engine.base import Engine


def average(engine: Engine, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> list[tf.Tensor | None]:
    """The mean over ranks of each gradient; None, a variable without one, stays None.

    Ranks weigh alike: where they hold different numbers of samples, `shard` has weighted them.
    Sparse gradients (embeddings) become dense.
    """
    dense = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
    present = [gradient for gradient in dense if gradient is not None]
    if not present or engine.size == 1:
        return dense
    sums = iter(engine.sum_tensors(present))
    return [None if gradient is None else next(sums) / tf.cast(engine.size, gradient.dtype) for gradient in dense]
