"""The average of gradients over ranks, by sample count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from hpcdl.engine.base import Engine

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None


def average(
    engine: Engine,
    gradients: Sequence[Gradient],
    statistics: Sequence[tf.Tensor] = (),
    samples: tf.Tensor | None = None,
    wire: tf.DType | None = None,
) -> tuple[list[tf.Tensor | None], list[tf.Tensor]]:
    """Means over all ranks' samples, where each rank brings means over its own.

    Args:
        engine: the ranks.
        gradients: None, a variable without one, stays None. Sparse gradients (embeddings) become
            dense, and are clipped so: Keras alone takes the norm of the slices before repeated ones
            are added up. 16-bit gradients are summed in float32.
        statistics: what normalisation layers collect. Summed in float64, so that a value that is
            the same on all ranks stays so to the bit.
        samples: this rank's number of samples, float32; None where ranks weigh alike. A rank with
            0 takes part without a voice, whatever its gradients are.
        wire: the 16-bit type in which gradients travel.

    Returns:
        The averages of gradients and of statistics.
    """
    dense = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
    own = tf.constant(1.0) if samples is None else samples
    present = [tf.cast(gradient, _wide(gradient.dtype)) for gradient in dense if gradient is not None]
    collected = [tf.cast(value, tf.float64) for value in statistics]
    if wire is not None:  # what travels must be of the size of a mean: the range of 16 bits is small
        [total] = engine.sum_tensors([own], "samples")
        sums = engine.sum_tensors([_times(value, own / total) for value in [*present, *collected]], wire=wire)
    else:
        *sums, total = engine.sum_tensors([*(_times(value, own) for value in [*present, *collected]), own])
        sums = [each / tf.cast(total, each.dtype) for each in sums]
    means = iter(sums)
    averages = [None if gradient is None else tf.cast(next(means), gradient.dtype) for gradient in dense]
    return averages, [tf.cast(next(means), value.dtype) for value in statistics]


def weigh(
    engine: Engine, gradients: Sequence[Gradient], statistics: Sequence[tf.Tensor], samples: tf.Tensor | None
) -> tuple[list[tf.Tensor | None], list[tf.Tensor]]:
    """Gradients to accumulate, whose plain mean over ranks is the mean over samples, and statistics' means.

    Only counts and statistics are summed over the ranks. Where one rank's gradients are not finite,
    all ranks get NaN: each would decide alone to skip the step and to lower the loss scale.

    Args, Returns: as `average`.
    """
    dense = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
    own = tf.constant(1.0) if samples is None else samples
    finite = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in dense if gradient is not None]
    bad = tf.where(own > 0, tf.cast(~tf.reduce_all(finite), tf.float32), 0.0)
    collected = [_times(tf.cast(value, tf.float64), own) for value in statistics]
    total, bads, *sums = engine.sum_tensors([own, bad, *collected], "samples")
    share = tf.where(bads > 0, np.nan, own * engine.size / total)
    weighted = [None if gradient is None else _times(gradient, share) for gradient in dense]
    means = [each / tf.cast(total, tf.float64) for each in sums]
    return weighted, [tf.cast(mean, value.dtype) for mean, value in zip(means, statistics, strict=True)]


def _times(value: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """value x weight, 0 for weight 0 also where the value is not finite."""
    return tf.math.multiply_no_nan(value, tf.cast(weight, value.dtype))


def _wide(dtype: tf.DType) -> tf.DType:
    return tf.float32 if dtype.size < 4 else dtype
