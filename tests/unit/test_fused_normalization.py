"""Fused batch normalisation against Keras's own layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hpcdl
from hpcdl.errors import ConfigError
from hpcdl.training.fused_normalization import fuse_normalization

TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 2e-2, "mixed_float16": 4e-3}
"""Of the largest value."""
IMAGES, ROWS, ONE = (4, 5, 6, 3), (7, 3), (1, 3)


def network(shape: tuple[int, ...], policy: str, **options: Any) -> keras.Model:
    """One normalisation of (batch, *, channels) whose weights and statistics are not those of a start."""
    inputs = keras.layers.Input(shape[1:])
    layer = keras.layers.BatchNormalization(momentum=0.7, dtype=keras.DTypePolicy(policy), **options)
    model = keras.Model(inputs, layer(inputs))
    draw = np.random.default_rng(3)
    model.set_weights([draw.uniform(0.5, 1.5, weight.shape) for weight in model.get_weights()])
    return model


def twins(shape: tuple[int, ...], policy: str = "float32", **options: Any) -> tuple[keras.Model, keras.Model]:
    """Keras's own, and the same fused."""
    return network(shape, policy, **options), fuse_normalization(network(shape, policy, **options))


def is_fused(model: keras.Model, shape: tuple[int, ...], *, training: bool = True) -> bool:
    """Whether TensorFlow's kernel is in the graph."""
    graph = tf.function(lambda x: model(x, training=training)).get_concrete_function(tf.TensorSpec(shape)).graph
    return any("FusedBatchNorm" in operation.type for operation in graph.get_operations())


def trained(model: keras.Model, shape: tuple[int, ...]) -> list[Any]:
    """Outputs, gradients of inputs and weights, and moving statistics after two steps, and an answer after them."""
    draw = np.random.default_rng(5)
    found: list[Any] = []
    for _ in range(2):
        images = tf.constant(draw.normal(3, 2, shape), tf.float32)
        slope = tf.constant(draw.normal(0, 1, shape), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = model(images, training=True)
            total = tf.reduce_sum(tf.cast(outputs, tf.float32) * slope)
        weights = [variable.value for variable in model.trainable_variables]
        found += [outputs, *tape.gradient(total, [images, *weights])]
    return [np.asarray(tf.cast(each, tf.float32)) for each in (*found, *model.get_weights(), model(images))]


@pytest.mark.parametrize("policy", TOLERANCE)
@pytest.mark.parametrize("shape", [IMAGES, ROWS, ONE])
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False, "scale": False}])
def test_computes_what_keras_computes(policy: str, shape: tuple[int, ...], options: dict[str, bool]) -> None:
    plain, fused = twins(shape, policy, **options)
    assert not is_fused(plain, shape)
    assert is_fused(fused, shape)
    assert not is_fused(fused, shape, training=False)
    for theirs, ours in zip(trained(plain, shape), trained(fused, shape), strict=True):
        assert ours.shape == theirs.shape
        scale = max(1.0, np.abs(theirs).max())
        assert np.abs(ours - theirs).max() < TOLERANCE[policy] * scale


@pytest.mark.parametrize("options", [{"axis": 1}, {"renorm": True}, {"synchronized": True}, {"epsilon": 1e-6}])
def test_what_the_kernels_cannot_do_stays_kerass(options: dict[str, Any]) -> None:
    plain, left = twins((4, 3, 3, 3), **options)
    assert not is_fused(left, (4, 3, 3, 3))
    for theirs, ours in zip(trained(plain, (4, 3, 3, 3)), trained(left, (4, 3, 3, 3)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_last_axis_by_its_number_is_fused() -> None:
    assert is_fused(twins(IMAGES, axis=3)[1], IMAGES)


def test_a_frozen_layer_stays_and_moves_nothing() -> None:
    _, model = twins(IMAGES)
    before = model.get_weights()
    model.trainable = False
    assert not is_fused(model, IMAGES)
    model(tf.ones(IMAGES), training=True)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_mask_is_kept() -> None:
    def masked(change: bool) -> Any:
        inputs = keras.layers.Input((4, 2))
        model = keras.Model(inputs, keras.layers.BatchNormalization()(keras.layers.Masking()(inputs)))
        images = tf.constant([[[1.0, 2], [0, 0], [3, 1], [0, 0]]])
        return (fuse_normalization(model) if change else model)(images, training=True)

    np.testing.assert_array_equal(masked(True), masked(False))


def test_plain_keras_loads_the_saved_model(tmp_path: Path) -> None:
    _, model = twins(IMAGES)
    trained(model, IMAGES)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert not is_fused(loaded, IMAGES)
    np.testing.assert_allclose(loaded(tf.ones(IMAGES)), model(tf.ones(IMAGES)), rtol=1e-5)


def test_one_change_a_layer() -> None:
    _, model = twins(IMAGES)
    with pytest.raises(ConfigError, match=r"after hpcdl\.fuse_normalization"):
        hpcdl.ghost_normalization(model, 2)
    ghost = hpcdl.ghost_normalization(network(IMAGES, "float32"), 2)
    assert not is_fused(hpcdl.fuse_normalization(ghost), IMAGES)
    fit = hpcdl.fuse_normalization(model)
    assert is_fused(fit, IMAGES)


def test_tensorflow_can_infer_with_any_activation_behind_it() -> None:
    """It has no kernel for the convolution, the fused normalisation and tanh in one."""
    inputs = keras.layers.Input(IMAGES[1:])
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs))
    model = fuse_normalization(keras.Model(inputs, keras.layers.Activation("tanh")(x)))
    model.predict(np.ones(IMAGES), verbose=0)


def test_fit_learns_what_keras_learns() -> None:
    draw = np.random.default_rng(7)
    x, y = draw.normal(1, 2, (64, *IMAGES[1:])), draw.normal(0, 1, (64, *IMAGES[1:]))
    found = []
    for model in twins(IMAGES):
        model.compile(keras.optimizers.SGD(0.05), "mse")
        model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
        found.append(model.get_weights())
    for theirs, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_model_without_weights_or_after_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="not built"):
        fuse_normalization(keras.Sequential([keras.layers.BatchNormalization()]))
    model = network(ROWS, "float32")
    model.compile("sgd", "mse")
    model.fit(np.ones(ROWS), np.ones(ROWS), verbose=0)
    with pytest.raises(ConfigError, match="has trained"):
        fuse_normalization(model)
