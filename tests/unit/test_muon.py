"""Muon against singular values that NumPy finds."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from hpcdl.training.muon import Muon, orthogonalized

Array = npt.NDArray[np.float64]


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def reference(matrix: Array) -> Array:
    """U p(p(p(S))) Vᵀ, where S has a sum of squares of 1."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values /= np.linalg.norm(values)
    for _ in range(3):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    found: Array = left * values @ right
    return found


@pytest.mark.parametrize("shape", [(36, 8), (8, 36), (5, 5), (1, 4)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    matrix = normal(0, *shape)
    found = orthogonalized(tf.constant(matrix, tf.float32)).numpy()
    np.testing.assert_allclose(found, reference(matrix), atol=1e-5)
    if shape != (5, 5):  # whose smallest singular value is far from the others
        assert np.all(np.abs(np.linalg.svd(found, compute_uv=False) - 1) < 0.35)


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_convolution_moves_by_a_share_of_its_norm_and_all_else_as_in_sgd(nesterov: bool) -> None:
    kernel, matrix = keras.Variable(normal(1, 3, 3, 4, 8)), keras.Variable(normal(2, 4, 3))
    plain = keras.Variable(normal(2, 4, 3))
    optimizer = Muon(0.5, momentum=0.7, nesterov=nesterov, trust=0.2)
    sgd = keras.optimizers.SGD(0.5, momentum=0.7, nesterov=nesterov)
    weights, velocity = normal(1, 3, 3, 4, 8), np.zeros((3, 3, 4, 8))
    for step, rate in enumerate([0.5, 0.5, 2.0]):
        optimizer.learning_rate = sgd.learning_rate = rate
        gradients = normal(10 + step, 3, 3, 4, 8), normal(20 + step, 4, 3)
        optimizer.apply([tf.constant(each, tf.float32) for each in gradients], [kernel, matrix])
        sgd.apply([tf.constant(gradients[1], tf.float32)], [plain])
        velocity = 0.7 * velocity + gradients[0]
        direction = gradients[0] + 0.7 * velocity if nesterov else velocity
        flat = reference(direction.reshape(36, 8)) / np.sqrt(8)
        weights = weights - rate * 0.2 * np.linalg.norm(weights) * flat.reshape(weights.shape)
        np.testing.assert_allclose(kernel.numpy(), weights, atol=1e-4)
        np.testing.assert_allclose(matrix.numpy(), plain.numpy(), rtol=1e-6)


def test_a_gradients_size_does_not_matter() -> None:
    moved = []
    for size in (1e-4, 1.0, 1e6):
        kernel = keras.Variable(normal(1, 3, 3, 4, 8))
        Muon(1.0, momentum=0.0, trust=0.02).apply([tf.constant(size * normal(3, 3, 3, 4, 8), tf.float32)], [kernel])
        moved.append(kernel.numpy() - normal(1, 3, 3, 4, 8))
    np.testing.assert_allclose(moved[0], moved[1], atol=1e-4)
    np.testing.assert_allclose(moved[2], moved[1], atol=1e-4)
    assert np.linalg.norm(moved[1]) == pytest.approx(0.02 * np.linalg.norm(normal(1, 3, 3, 4, 8)), rel=0.2)


def test_a_kernel_of_zeros_learns() -> None:
    kernel = keras.Variable(np.zeros((3, 3, 4, 8)))
    gradient = normal(3, 3, 3, 4, 8)
    Muon(0.5, momentum=0.0, trust=0.2).apply([tf.constant(gradient, tf.float32)], [kernel])
    expected = -0.1 * reference(gradient.reshape(36, 8)) / np.sqrt(8)
    np.testing.assert_allclose(kernel.numpy().reshape(36, 8), expected, atol=1e-5)


def test_no_gradient_moves_nothing() -> None:
    kernel = keras.Variable(normal(1, 3, 3, 4, 8))
    Muon(1.0).apply([tf.zeros((3, 3, 4, 8))], [kernel])
    np.testing.assert_array_equal(kernel.numpy(), normal(1, 3, 3, 4, 8).astype("float32"))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_it_trains_in_every_precision_and_survives_a_file(policy: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    x = normal(3, 64, 6, 6, 1).astype("float32")
    y = (x[:, 2, 2, 0] > 0).astype("int32")
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = keras.Sequential([keras.layers.Input((6, 6, 1)), keras.layers.Conv2D(8, 3, use_bias=False)])
        model.add(keras.layers.BatchNormalization())
        for layer in (keras.layers.ReLU(), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")):
            model.add(layer)
        model.compile(Muon(0.2, trust=0.3, weight_decay=1e-3, clipnorm=3.0), "sparse_categorical_crossentropy")
        losses = model.fit(x, y, epochs=8, batch_size=16, verbose=0).history["loss"]
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert losses[-1] < 0.5 * losses[0]
    kept = getattr(loaded.optimizer, "inner_optimizer", loaded.optimizer).get_config()
    assert {key: kept[key] for key in ("momentum", "nesterov", "trust", "weight_decay", "clipnorm")} == {
        "momentum": 0.6,
        "nesterov": True,
        "trust": 0.3,
        "weight_decay": 1e-3,
        "clipnorm": 3.0,
    }


def test_a_momentum_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum"):
        Muon(momentum=1.5)
