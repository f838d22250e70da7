"""Batch normalisation by TensorFlow's fused kernels, where Keras 3 takes a dozen passes over memory.

As in `hpcdl.training.normalization`, what a layer computes changes on the instance, and class and
configuration stay Keras's, so a saved model loads in plain Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from hpcdl.errors import ConfigError
from hpcdl.training.normalization import refuse_trained

LEAST_EPSILON = 1.001e-5
"""cuDNN's; with a smaller one TensorFlow's kernels refuse or replace it."""
KERNELS = (tf.float32, tf.bfloat16, tf.float16)


def fuse_normalization(model: keras.Model) -> keras.Model:
    """Makes the BatchNormalization layers of a model compute what Keras's do, up to rounding, in fewer passes.

    Recipes do it by themselves. Others stay as they are: subclasses, another axis than the last,
    renorm, synchronized, a smaller epsilon than cuDNN's, and what `hpcdl.synchronize_normalization`
    or `hpcdl.ghost_normalization` changed. So does what a layer does with a mask, in float64, in
    inference and frozen: TensorFlow fuses an inference kernel with its neighbours in ways that its
    CPU kernels refuse (convolution, normalisation, tanh), and its gradient is not deterministic on GPUs.

    Args:
        model: built, with nested models and layers.

    Returns:
        The same object.

    Raises:
        ConfigError: a model that is not built, or has trained.
    """
    caller = "hpcdl.fuse_normalization"
    if not model.built:
        raise ConfigError(f"{model.name}, which is not built", "a built model", f"call it once before {caller}")
    refuse_trained(model, caller)
    for layer in model._flatten_layers():
        if type(layer) is keras.layers.BatchNormalization and _fits(layer):
            layer.call = partial(_call, layer, layer.call)
            layer.hpcdl_normalization = caller
    return model


def _fits(layer: Any) -> bool:
    changed = getattr(layer, "hpcdl_normalization", None)
    last = layer.axis in (-1, len(layer._reduction_axes))
    return last and not (changed or layer.renorm or layer.synchronized) and layer.epsilon >= LEAST_EPSILON


def _call(
    layer: Any,
    plain: Callable[..., tf.Tensor],
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """Takes the place of BatchNormalization.call, which is `plain`."""
    if mask is not None or not (training and layer.trainable) or inputs.dtype not in KERNELS:
        return plain(inputs, training=training, mask=mask)
    channels = inputs.shape[-1]
    images = inputs if len(inputs.shape) == 4 else tf.reshape(inputs, [-1, 1, 1, channels])
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=tf.cast(layer.gamma, tf.float32) if layer.scale else tf.ones([channels]),
        offset=tf.cast(layer.beta, tf.float32) if layer.center else tf.zeros([channels]),
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=layer.epsilon,
    )
    # The kernel answers with the sample variance, n / (n - 1) times the population's, which Keras keeps.
    count = tf.cast(tf.size(inputs) // channels, tf.float32)
    for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, variance * (count - 1) / count)):
        moving.assign(tf.cast(moving, tf.float32) * layer.momentum + now * (1 - layer.momentum))
    return tf.cast(tf.reshape(outputs, tf.shape(inputs)) if images is not inputs else outputs, layer.compute_dtype)
