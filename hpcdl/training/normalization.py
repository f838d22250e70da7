"""Batch normalisation over another number of samples than a rank's batch: over all ranks', or over small groups.

Both functions change what a layer computes on the instance; class and configuration stay Keras's, so a
saved model loads in plain Keras.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from hpcdl.engine.base import Engine
from hpcdl.errors import ConfigError
from hpcdl.training.session import Session, current

_sums: WeakKeyDictionary[Any, Counter[str]] = WeakKeyDictionary()
"""How often a graph has asked for the sum of a name."""


def synchronize_normalization(model: keras.Model) -> keras.Model:
    """Makes every BatchNormalization of a model train with the statistics of all ranks' batches.

    Each costs a small sum over the ranks in the forward pass and one in the backward pass. Call it
    before the model trains. All ranks get the same moving statistics, with Keras's population variance;
    inference and frozen layers do not change. Nor does anything on one rank.

    Gradients are those of the mean loss over all samples where each rank's loss is the mean over its own
    and its gradients are then weighted by its share of the samples, as `hpcdl.distribute` does.

    Args:
        model: with nested models and layers, the same on every rank.

    Returns:
        The same object.

    Raises:
        ConfigError: no BatchNormalization in it, one that is changed already or computes in a way of
            its own, or a model that has trained.
        WorldError: `hpcdl.init` was not called.
    """
    session = current()
    for place, layer in enumerate(_claim(model, "hpcdl.synchronize_normalization")):
        if session.engine.size > 1:
            # By place and not by name: Keras numbers names in each process, and a rank may have built more.
            layer._moments = partial(_moments_of_all, session, layer, f"normalization.{place}")
            layer.supports_jit = False  # a sum over the ranks has no XLA kernel
    if session.engine.size > 1:
        model.jit_compile = False  # where it is compiled already; otherwise Keras asks the layers
    return model


def ghost_normalization(model: keras.Model, virtual_batch: int) -> keras.Model:
    """Makes every BatchNormalization of a model train on groups of `virtual_batch` consecutive samples.

    So what a sample is normalised with does not depend on the number of ranks, where each rank's batch is
    a multiple of `virtual_batch`; otherwise a batch's last group is smaller. Moving statistics
    take group after group: Keras's update, once a group. Call it before the model trains. Inference and
    frozen layers do not change.

    Source: Hoffer, Hubara, Soudry 2017, "Train longer, generalize better", algorithm 1.

    Args:
        model: with nested models and layers.
        virtual_batch: samples a group, at least 1.

    Returns:
        The same object.

    Raises:
        ConfigError: `virtual_batch` is below 1; no BatchNormalization in the model, one that is changed
            already, computes in a way of its own, or has renorm or synchronized; or a model that has trained.
    """
    if virtual_batch < 1:
        raise ConfigError(f"virtual_batch={virtual_batch}", "at least 1 sample", "for example virtual_batch=32")
    for layer in _claim(model, "hpcdl.ghost_normalization", {"renorm", "synchronized"}):
        layer.call = partial(_call_by_groups, layer, layer.call, virtual_batch)
    return model


def refuse_trained(model: keras.Model, caller: str) -> None:
    """Refuses a model whose training is compiled: what changes now would change nothing.

    Raises:
        ConfigError: fit has been called.
    """
    if getattr(model, "train_function", None) is not None:
        raise ConfigError(f"{model.name}, which has trained", "a model before it trains", f"call {caller} before fit")


def _claim(model: keras.Model, caller: str, unfit: set[str] | None = None) -> list[Any]:
    """The model's BatchNormalization layers, each at most once in its life.

    Args:
        model: what the caller changes.
        caller: who changes it, for errors.
        unfit: options of a layer that cannot be on.
    """
    plain = keras.layers.BatchNormalization
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, plain)]
    if not layers:
        raise ConfigError(
            f"{model.name}, which has no BatchNormalization",
            "a model with at least one",
            f"remove {caller}, or call it after the layers are made",
        )
    refuse_trained(model, caller)
    for layer in layers:
        before = getattr(layer, "hpcdl_normalization", None)
        if before is not None:
            raise ConfigError(f"{layer.name} after {before}", "one call a layer", f"remove {before} or {caller}")
        on = sorted(option for option in unfit or () if getattr(layer, option, False))
        if on or layer.axis == 0:
            told = f"{on[0]}=True" if on else "axis=0"
            raise ConfigError(f"{layer.name} with {told}", "BatchNormalization without it", f"remove {told}")
        if (type(layer).call, type(layer)._moments) != (plain.call, plain._moments):
            raise ConfigError(
                f"{layer.name}, whose class {type(layer).__name__} computes in a way of its own",
                "Keras's BatchNormalization",
                f"use keras.layers.BatchNormalization, or remove {caller}",
            )
    for layer in layers:
        layer.hpcdl_normalization = caller
    return layers


def _moments_of_all(
    session: Session, layer: Any, name: str, inputs: tf.Tensor, mask: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance (channels,) of all ranks' inputs; takes the place of BatchNormalization._moments.

    Each rank sums its inputs' distances from a centre of its own, its mean as float32 has it, and their squares:
    small numbers. From these it makes the sums of x and x² in float64, which one sum over the ranks joins, and
    the variance is E[x²] - E[x]² after all. In float64 that costs 1e-16 x (mean / deviation)² of it, far less than
    float32 has already done to such inputs. (Chan, Golub, LeVeque 1983, "Algorithms for computing the sample
    variance", on shifting the data and on joining samples.) The centre is a constant: what it is does not matter
    to the sums, so nothing is missing from the gradient without it.

    Args:
        session: its `samples` is read while the step is traced.
        layer: a BatchNormalization.
        name: of the sums.
        inputs: float32 or float64, any shape with `layer.axis`.
        mask: where to look, the shape of inputs without its last dimension; None for everywhere.
    """
    axes, shape = layer._reduction_axes, _channel_shape(layer, inputs)
    rows = tf.shape(inputs)[0] if session.samples is None else session.samples
    samples = tf.cast(rows, tf.float64)
    valid, ones = _valid(layer, inputs, mask)
    count = tf.broadcast_to(tf.reduce_sum(tf.cast(ones, tf.float64), axes), [inputs.shape[layer.axis]])

    known = tf.reduce_sum(_only(tf.stop_gradient(inputs), valid), axes)
    centre = tf.math.divide_no_nan(known, tf.cast(count, known.dtype))
    away = _only(inputs - tf.reshape(centre, shape), valid)
    centre = tf.cast(centre, tf.float64)
    first, second = (tf.cast(tf.reduce_sum(values, axes), tf.float64) for values in (away, tf.square(away)))
    own = tf.stack([count, count * centre + first, count * tf.square(centre) + 2 * centre * first + second])
    # A batch that stands in for an empty one is not there.
    total = _sum_over_ranks(session.engine, tf.where(samples > 0, own, tf.zeros_like(own)), samples, name)
    mean, square = (tf.math.divide_no_nan(total[row], total[0]) for row in (1, 2))
    variance = tf.maximum(square - tf.square(mean), 0)
    return tf.cast(mean, inputs.dtype), tf.cast(variance, inputs.dtype)


def _sum_over_ranks(engine: Engine, own: tf.Tensor, samples: tf.Tensor, name: str) -> tf.Tensor:
    """The sum of a tensor over the ranks, with the gradient of the mean loss over all samples.

    A rank's loss is the mean over its own samples, and its gradients are multiplied by its number of samples
    later. So gradients that come from other ranks are multiplied by theirs here, and divided by this one's.

    Args:
        engine: the ranks.
        own: the same shape on every rank.
        samples: this rank's, a scalar of own's dtype; with 0, nothing of its loss goes to the others, be
            it infinite.
        name: of the sum.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def plain(value: tf.Tensor) -> tuple[tf.Tensor, Callable[..., tf.Tensor]]:
        return _submit(engine, value, f"{name}.forward"), weighted

    # Each is the other's gradient.
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def weighted(gradient: tf.Tensor) -> tuple[tf.Tensor, Callable[..., tf.Tensor]]:
        total = _submit(engine, tf.math.multiply_no_nan(gradient, samples), f"{name}.backward")
        return tf.math.divide_no_nan(total, samples), plain

    return plain(own)


def _submit(engine: Engine, tensor: tf.Tensor, name: str) -> tf.Tensor:
    """Sums over the ranks under a name that no other sum of this graph has, and that all ranks choose alike.

    A process-wide count would part ranks that traced another number of graphs, as they do where a ragged
    batch gives one of them a batch size of its own. Outside of graphs one sum ends before the next begins.
    """
    if not tf.executing_eagerly():
        count = _sums.setdefault(tf.compat.v1.get_default_graph(), Counter())
        count[name] += 1
        name = f"{name}.{count[name]}"
    return engine.sum_tensors([tensor], name)[0]


def _call_by_groups(
    layer: Any,
    plain: Callable[..., tf.Tensor],
    virtual_batch: int,
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """Normalises within groups of samples; takes the place of BatchNormalization.call, which is `plain`."""
    if not (training and layer.trainable):
        return plain(inputs, training=training, mask=mask)
    inputs = tf.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))  # as Keras does
    _, *within = layer._reduction_axes
    rows, shape = tf.shape(inputs)[0], _channel_shape(layer, inputs)
    size = tf.clip_by_value(rows, 1, virtual_batch)
    valid, ones = _valid(layer, inputs, mask)
    count = _sum_by_groups(tf.reduce_sum(ones, within), size)

    def mean_of(values: tf.Tensor) -> tf.Tensor:
        return tf.math.divide_no_nan(_sum_by_groups(tf.reduce_sum(_only(values, valid), within), size), count)

    def at_samples(by_group: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.repeat(by_group, size, axis=0)[:rows], [-1, *shape[1:]])

    mean = mean_of(inputs)
    variance = mean_of(tf.math.squared_difference(inputs, at_samples(tf.stop_gradient(mean))))
    _move(layer.moving_mean, mean, layer.momentum)
    _move(layer.moving_variance, variance, layer.momentum)
    scale, offset = (
        None if weight is None else tf.reshape(tf.cast(weight, inputs.dtype), shape)
        for weight in (layer.gamma, layer.beta)
    )
    outputs = tf.nn.batch_normalization(
        inputs, at_samples(mean), at_samples(variance), offset, scale, variance_epsilon=layer.epsilon
    )
    return tf.cast(tf.ensure_shape(outputs, inputs.shape), layer.compute_dtype)


def _sum_by_groups(values: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """The sum of each `size` consecutive rows (rows, channels); the last group may be smaller."""
    full = tf.pad(values, [[0, -tf.shape(values)[0] % size], [0, 0]])
    return tf.reduce_sum(tf.reshape(full, [-1, size, values.shape[1]]), axis=1)


def _move(moving: keras.Variable, by_group: tf.Tensor, momentum: float) -> None:
    """Moves a statistic (channels,) by each group's value (groups, channels) in turn."""
    groups, dtype = tf.shape(by_group)[0], by_group.dtype
    later = tf.cast(tf.range(groups - 1, -1, -1), dtype)  # groups that come after each
    kept = tf.pow(tf.cast(momentum, dtype), later)[:, tf.newaxis]
    old = tf.cast(moving, dtype) * tf.pow(tf.cast(momentum, dtype), tf.cast(groups, dtype))
    moving.assign(old + (1 - momentum) * tf.reduce_sum(by_group * kept, axis=0))


def _channel_shape(layer: Any, inputs: tf.Tensor) -> list[int]:
    """The shape in which a value a channel meets the inputs."""
    return [1 if axis in layer._reduction_axes else size for axis, size in enumerate(inputs.shape)]


def _valid(layer: Any, inputs: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor | None, tf.Tensor]:
    """Where statistics look, None for everywhere; and 1 there, 0 elsewhere, of one channel where all are alike."""
    if mask is None:
        return None, tf.ones_like(tf.gather(inputs, [0], axis=layer.axis))
    valid = tf.broadcast_to(tf.cast(mask, tf.bool)[..., tf.newaxis], tf.shape(inputs))
    return valid, tf.cast(valid, inputs.dtype)


def _only(values: tf.Tensor, valid: tf.Tensor | None) -> tf.Tensor:
    return values if valid is None else tf.where(valid, values, tf.zeros([], values.dtype))
