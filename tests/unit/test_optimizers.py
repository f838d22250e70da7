"""Optimizers of recipes: LARS and momentum correction against NumPy, and what decays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from hpcdl.config.schema import OptimizerConfig
from hpcdl.training.lars import LARS
from hpcdl.training.optimizers import correct_momentum, make_optimizer

Array = npt.NDArray[np.float64]


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


KERNEL, VECTOR = normal(1, 4, 3), normal(2, 3)
GRADIENTS = [(normal(10 + step, 4, 3), normal(20 + step, 3)) for step in range(4)]


class Shift(keras.layers.Layer):
    """A user's layer, whose bias has a name of its own."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.offset = self.add_weight(shape=shape[-1:], name="offset")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + self.offset


def small_model() -> keras.Model:
    layers = [keras.layers.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.BatchNormalization()]
    return keras.Sequential([*layers, keras.layers.Dense(2, "softmax")])


def lars_step(
    w: Array,
    v: Array,
    g: Array,
    rate: float,
    momentum: float = 0.9,
    trust: float = 0.001,
    decay: float = 0.0,
    nesterov: bool = False,
) -> tuple[Array, Array]:
    """Algorithm 1 of You et al. 2017 for a kernel, with Nesterov's variant."""
    length = np.linalg.norm(w)
    local = trust * length / (np.linalg.norm(g) + decay * length)
    change = rate * local * (g + decay * w)
    v = momentum * v + change
    return w - (momentum * v + change if nesterov else v), v


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decay": 0.05},
        {"decay": 0.05, "trust": 0.3, "momentum": 0.5},
        {"decay": 0.05, "trust": 0.3, "nesterov": True},
        {"momentum": 0.0, "trust": 0.1},
    ],
)
def test_lars_is_the_papers_algorithm_and_plain_sgd_for_vectors(options: dict[str, Any]) -> None:
    rates = [0.5, 0.5, 2.0, 0.1]
    kernel, vector = keras.Variable(KERNEL), keras.Variable(VECTOR)
    optimizer = LARS(0.5, **{"weight_decay" if key == "decay" else key: value for key, value in options.items()})
    plain = keras.optimizers.SGD(0.5, options.get("momentum", 0.9), options.get("nesterov", False))
    reference = keras.Variable(VECTOR)
    w, v = KERNEL, np.zeros_like(KERNEL)
    for rate, (of_kernel, of_vector) in zip(rates, GRADIENTS, strict=True):
        optimizer.learning_rate = plain.learning_rate = rate
        optimizer.apply([tf.constant(of_kernel, tf.float32), tf.constant(of_vector, tf.float32)], [kernel, vector])
        plain.apply([tf.constant(of_vector, tf.float32)], [reference])
        w, v = lars_step(w, v, of_kernel, rate, **options)
        np.testing.assert_allclose(kernel.numpy(), w, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(vector.numpy(), reference.numpy(), rtol=1e-6, atol=1e-7)


def test_lars_takes_a_plain_step_where_a_norm_is_zero() -> None:
    zero, still = keras.Variable(np.zeros((4, 3))), keras.Variable(KERNEL)
    optimizer = LARS(0.5, momentum=0.0, weight_decay=0.1)
    gradient = GRADIENTS[0][0]
    optimizer.apply([tf.constant(gradient, tf.float32), tf.zeros((4, 3))], [zero, still])
    np.testing.assert_allclose(zero.numpy(), -0.5 * gradient, rtol=1e-6)
    np.testing.assert_allclose(still.numpy(), KERNEL * (1 - 0.5 * 0.1), rtol=1e-6)


def test_lars_moves_a_kernel_by_trust_times_its_norm_however_large_the_gradient() -> None:
    for size in (1e-12, 1.0, 1e12):
        kernel = keras.Variable(KERNEL)
        LARS(1.0, momentum=0.0, trust=0.02).apply([tf.constant(size * GRADIENTS[0][0], tf.float32)], [kernel])
        moved = np.linalg.norm(kernel.numpy() - KERNEL)
        assert moved == pytest.approx(0.02 * np.linalg.norm(KERNEL), rel=1e-4)


def test_lars_clips_first_and_averages_after() -> None:
    kernel = keras.Variable(KERNEL)
    optimizer = LARS(1.0, weight_decay=0.5, trust=0.1, clipnorm=0.01, use_ema=True, ema_momentum=0.75)
    w, v = KERNEL, np.zeros_like(KERNEL)
    seen = []
    for gradient, _ in GRADIENTS:
        optimizer.apply([tf.constant(gradient, tf.float32)], [kernel])
        w, v = lars_step(w, v, gradient * 0.01 / np.linalg.norm(gradient), 1.0, decay=0.5, trust=0.1)
        seen.append(w)
    np.testing.assert_allclose(kernel.numpy(), w, rtol=2e-5)
    optimizer.finalize_variable_values([kernel])
    average = 0.75**3 * seen[0] + 0.25 * (0.75**2 * seen[1] + 0.75 * seen[2] + seen[3])
    np.testing.assert_allclose(kernel.numpy(), average, rtol=2e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_lars_trains_in_mixed_precision(policy: str) -> None:
    keras.utils.set_random_seed(1)
    x = normal(3, 64, 4).astype("float32")
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = small_model()
        model.compile(LARS(0.1, trust=0.2, weight_decay=1e-4), "sparse_categorical_crossentropy")
        losses = model.fit(x, x[:, 0] > 0, epochs=8, batch_size=16, verbose=0).history["loss"]
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert losses[-1] < 0.6 * losses[0]


def test_lars_takes_an_embeddings_sparse_gradient() -> None:
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Embedding(5, 3), keras.layers.Flatten()])
    table = normal(5, 5, 3)
    model.set_weights([table])
    variable = model.trainable_variables[0]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(tf.constant([[1, 1], [4, 2]])))
    gradient = tape.gradient(loss, [variable.value])
    assert isinstance(gradient[0], tf.IndexedSlices)
    LARS(1.0, trust=0.1).apply(gradient, [variable])
    counts = np.array([[0.0], [2.0], [1.0], [0.0], [1.0]]) * np.ones((5, 3))
    expected, _ = lars_step(table, np.zeros((5, 3)), counts, 1.0, trust=0.1)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


def test_lars_survives_a_file(tmp_path: Path) -> None:
    options = {"momentum": 0.8, "nesterov": True, "trust": 0.02, "weight_decay": 0.01, "epsilon": 1e-6}
    x = normal(4, 32, 4).astype("float32")
    y = (x[:, 0] > 0).astype("int32")
    model = small_model()
    model.compile(LARS(0.7, clipnorm=3.0, **options), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is LARS
    config = loaded.optimizer.get_config()
    assert {key: config[key] for key in options} == options
    assert config["clipnorm"] == 3.0
    assert config["learning_rate"] == pytest.approx(0.7)
    for both in (model, loaded):  # the velocities are there: the next steps are alike
        both.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for own, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6, atol=1e-7)


def test_lars_refuses_a_momentum_above_one() -> None:
    with pytest.raises(ValueError, match=r"momentum=1\.5"):
        LARS(momentum=1.5)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "nadam", "lamb", "lars", "muon"])
def test_every_name_makes_its_class_and_a_file_keeps_it(name: str, tmp_path: Path) -> None:
    config = OptimizerConfig(name=name, learning_rate=0.25, weight_decay=0.5, global_clipnorm=2.0)
    model = small_model()
    model.compile(make_optimizer(config, model), "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert type(loaded).__name__.lower() == name
    kept = loaded.get_config()
    assert (kept["learning_rate"], kept["weight_decay"], kept["global_clipnorm"]) == (0.25, 0.5, 2.0)


def every_kind_of_variable() -> tuple[keras.Model, list[keras.Variable]]:
    """A network with biases and scales of one and of more axes, and those of its variables that should decay."""
    embedding = keras.layers.Embedding(7, 6)
    convolution = keras.layers.Conv1D(6, 3, padding="same")
    einsum = keras.layers.EinsumDense("abc,cde->abde", output_shape=(4, 2, 3), bias_axes="de")
    wide = keras.layers.LayerNormalization(axis=[-2, -1])
    gru = keras.layers.GRU(3)
    dense = keras.layers.Dense(2)
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            embedding,
            convolution,
            keras.layers.BatchNormalization(),
            einsum,
            wide,
            keras.layers.PReLU(),
            keras.layers.Reshape((4, 6)),
            keras.layers.RMSNormalization(),
            gru,
            dense,
            Shift(),
        ]
    )
    assert len(einsum.bias.shape) == len(gru.cell.bias.shape) == len(wide.gamma.shape) == 2  # no vectors
    kernels = [embedding.embeddings, convolution.kernel, einsum.kernel, dense.kernel]
    return model, [*kernels, gru.cell.kernel, gru.cell.recurrent_kernel]


@pytest.mark.parametrize("decay", ["kernels", "all"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "nadam", "lamb"])
def test_without_gradients_only_what_decays_changes(name: str, decay: str) -> None:
    model, kernels = every_kind_of_variable()
    variables = model.trainable_variables
    for variable in variables:  # biases start at 0, where decay would not show
        variable.assign(np.ones(variable.shape))
    optimizer = make_optimizer(OptimizerConfig(name=name, learning_rate=0.5, weight_decay=0.1, decay=decay), model)
    step = tf.function(lambda: optimizer.apply([tf.zeros(variable.shape) for variable in variables], variables))
    optimizer.build(variables)
    for _ in range(3):
        step()
    shrunk = {id(kernel) for kernel in kernels} if decay == "kernels" else {id(variable) for variable in variables}
    assert 0 < len(kernels) < len(variables)
    for variable in variables:
        expected = (1 - 0.5 * 0.1) ** 3 if id(variable) in shrunk else 1.0
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, err_msg=variable.path)


def test_lars_decays_no_vector_and_with_kernels_no_wide_scale() -> None:
    for decay, kept in (("all", 0.95), ("kernels", 1.0)):
        model = keras.Sequential([keras.layers.Input((2, 3)), keras.layers.LayerNormalization(axis=[-2, -1])])
        model.add(keras.layers.Dense(2))
        config = OptimizerConfig(name="lars", learning_rate=0.5, weight_decay=0.1, momentum=0, decay=decay)
        optimizer = make_optimizer(config, model)
        for variable in model.trainable_variables:
            variable.assign(np.ones(variable.shape))
        optimizer.apply([tf.zeros(variable.shape) for variable in model.trainable_variables], model.trainable_variables)
        values = {
            (variable.name, len(variable.shape)): variable.numpy().mean() for variable in model.trainable_variables
        }
        assert values == {
            ("gamma", 2): pytest.approx(kept),
            ("beta", 2): pytest.approx(kept),
            ("kernel", 2): pytest.approx(0.95),
            ("bias", 1): 1.0,
        }


@pytest.mark.parametrize(("traced", "scaled"), [(False, False), (True, False), (False, True)])
def test_corrected_momentum_is_goyals_equation_9(traced: bool, scaled: bool) -> None:
    """The reference has no rate in its velocity: u = m u + g, w = w - rate u."""
    rates = [0.05, 0.05, 0.2, 0.4, 0.04, 0.04, 0.1]
    matrix, target = normal(6, 4, 4) / 4, normal(7, 4)
    w, u = np.ones(4), np.zeros(4)
    for rate in rates:
        u = 0.9 * u + matrix.T @ (matrix @ w - target)
        w = w - rate * u

    def descend(correct: bool) -> Array:
        variable = keras.Variable(np.ones(4))
        optimizer = keras.optimizers.SGD(rates[0], momentum=0.9)
        if scaled:  # as under mixed_float16; a scale of 1 leaves the gradients as they are
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0)
        optimizer.build([variable])
        scale = tf.function(lambda ratio: correct_momentum(optimizer, ratio)) if traced else None
        for before, rate in zip([rates[0], *rates], rates, strict=False):
            optimizer.learning_rate = rate
            if correct and rate != before:
                scale(tf.constant(rate / before, tf.float32)) if scale else correct_momentum(optimizer, rate / before)
            optimizer.apply([tf.constant(matrix.T @ (matrix @ variable.numpy() - target), tf.float32)], [variable])
        return variable.numpy()

    np.testing.assert_allclose(descend(correct=True), w, rtol=1e-5, atol=1e-6)
    assert np.abs(descend(correct=False) - w).max() > 0.01


def test_without_momentum_there_is_nothing_to_correct() -> None:
    variable, optimizer = keras.Variable(np.ones(2)), keras.optimizers.SGD(0.1)
    optimizer.build([variable])
    before = [each.numpy() for each in optimizer.variables]
    correct_momentum(optimizer, 3.0)
    assert [each.numpy() for each in optimizer.variables] == before
