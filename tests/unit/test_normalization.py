"""Ghost batch normalisation against Keras's own layer on each group; what both functions refuse and save.

The statistics of all ranks are judged in tests/parallel/test_normalization.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpcdl.engine.single import SingleEngine
from hpcdl.errors import ConfigError
from hpcdl.training import normalization
from hpcdl.training.normalization import ghost_normalization, synchronize_normalization
from hpcdl.training.session import Session
from hpcdl.world import World

GROUP = 4
Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def joined(monkeypatch: pytest.MonkeyPatch) -> Session:
    """One rank, without hpcdl.init."""
    session = Session(World(), SingleEngine())
    monkeypatch.setattr(normalization, "current", lambda: session)
    return session


def network(shape: tuple[int, ...], **options: Any) -> keras.Model:
    """One BatchNormalization, with weights that are not its start."""
    model = keras.Sequential([keras.layers.Input(shape), keras.layers.BatchNormalization(**options)])
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in model.get_weights()])
    return model


def batch(samples: int, shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(1).normal(3, 2, (samples, *shape)).astype(np.float32)


def weighing(samples: int, shape: tuple[int, ...]) -> Array:
    """How a loss weighs each output: unlike what is normalised, else gradients by it would cancel."""
    return np.random.default_rng(2).standard_normal((samples, *shape)).astype(np.float32)


def step(model: keras.Model, x: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """Output, and gradients of a sum that weighs every output, by x and by the weights."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=True)
        total = tf.reduce_sum(tf.cast(y, tf.float32) * weight)
    dx, *others = tape.gradient(total, [x, *(variable.value for variable in model.trainable_variables)])
    return y, dx, others


def by_groups(model: keras.Model, x: Array, weight: Array, size: int = GROUP) -> tuple[Array, Array, list[Array]]:
    """`step` of plain Keras on one group after the other."""
    parts = [
        step(model, tf.constant(x[at : at + size]), tf.constant(weight[at : at + size]))
        for at in range(0, len(x), size)
    ]
    outputs, inputs, weights = zip(*parts, strict=True)
    return (
        np.concatenate(outputs),
        np.concatenate(inputs),
        [np.sum(gradients, axis=0) for gradients in zip(*weights, strict=True)],
    )


def assert_close(found: Any, expected: Any, tolerance: float = 2e-6) -> None:
    scale = max(1.0, float(np.abs(np.asarray(expected, np.float64)).max()))
    np.testing.assert_allclose(
        np.asarray(found, np.float64), np.asarray(expected, np.float64), rtol=0, atol=tolerance * scale
    )


CASES = [
    pytest.param((6, 5, 3), {}, id="images"),
    pytest.param((3, 6, 5), {"axis": 1}, id="channels-first"),
    pytest.param((7, 3), {"axis": -1, "momentum": 0.6, "epsilon": 1e-2}, id="sequences"),
    pytest.param((9,), {}, id="dense"),
    pytest.param((9,), {"scale": False}, id="no-scale"),
    pytest.param((9,), {"center": False}, id="no-center"),
]


@pytest.mark.parametrize("samples", [8, 11, 3, 1], ids=lambda samples: f"{samples}samples")
@pytest.mark.parametrize(("shape", "options"), CASES)
def test_ghost_is_keras_on_each_group(shape: tuple[int, ...], options: dict[str, Any], samples: int) -> None:
    """11 samples leave 3 for the last group; 3 and 1 are fewer than a group."""
    x, weight = batch(samples, shape), weighing(samples, shape)
    plain, ghost = network(shape, **options), ghost_normalization(network(shape, **options), GROUP)
    expected = by_groups(plain, x, weight)
    for found in (
        step(ghost, tf.constant(x), tf.constant(weight)),
        tf.function(step, autograph=False)(
            ghost_normalization(network(shape, **options), GROUP), tf.constant(x), tf.constant(weight)
        ),
    ):
        tf.nest.map_structure(assert_close, found, (expected[0], expected[1], expected[2]))
    for ours, theirs in zip(ghost.get_weights(), plain.get_weights(), strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("jit", [False, True])
def test_ghost_with_a_batch_size_that_the_graph_does_not_know(jit: bool) -> None:
    shape = (6, 5, 3)
    plain, ghost = network(shape), ghost_normalization(network(shape), GROUP)
    unknown = tf.TensorSpec([None, *shape])
    compiled = tf.function(
        lambda x, weight: step(ghost, x, weight), input_signature=[unknown, unknown], autograph=False, jit_compile=jit
    )
    for samples in (8, 5, 8):
        x, weight = batch(samples, shape), weighing(samples, shape)
        expected, found = by_groups(plain, x, weight), compiled(tf.constant(x), tf.constant(weight))
        for ours, theirs in zip(found, expected, strict=True):
            tf.nest.map_structure(assert_close, ours, theirs)
    for ours, theirs in zip(ghost.get_weights(), plain.get_weights(), strict=True):
        assert_close(ours, theirs)


def test_ghost_of_no_sample_changes_nothing() -> None:
    ghost = ghost_normalization(network((9,)), GROUP)
    before = ghost.get_weights()
    assert ghost(tf.zeros([0, 9]), training=True).shape == (0, 9)
    for ours, theirs in zip(ghost.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_ghost_in_mixed_precision(policy: str) -> None:
    shape = (6, 5, 3)
    x, weight = batch(11, shape) + 50, weighing(11, shape)
    plain, ghost = network(shape, dtype=policy), ghost_normalization(network(shape, dtype=policy), GROUP)
    expected, found = by_groups(plain, x, weight), step(ghost, tf.constant(x), tf.constant(weight))
    assert found[0].dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(
        np.asarray(found[0], np.float32), np.asarray(expected[0], np.float32), rtol=2**-7, atol=2**-7
    )
    for ours, theirs in zip(ghost.get_weights(), plain.get_weights(), strict=True):
        assert_close(ours, theirs)  # the moving statistics are float32


def test_ghost_of_groups_far_from_zero() -> None:
    """Where mean / deviation is 1000, E[x²] - E[x]² in float32 would be off by some percent."""
    x = (1000 + np.random.default_rng(0).standard_normal((8, 6, 5, 3))).astype(np.float32)
    ghost = ghost_normalization(network((6, 5, 3), momentum=0.0), GROUP)
    ghost(x, training=True)
    last = x[GROUP:].astype(np.float64)
    np.testing.assert_allclose(ghost.get_weights()[3], last.var(axis=(0, 1, 2)), rtol=1e-5)


def test_inference_and_frozen_layers_are_keras_own() -> None:
    x = batch(11, (9,))
    plain, ghost = network((9,)), ghost_normalization(network((9,)), GROUP)
    np.testing.assert_array_equal(ghost(x), plain(x))
    ghost.layers[0].trainable = False
    np.testing.assert_array_equal(ghost(x, training=True), plain(x))
    for ours, theirs in zip(ghost.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def nested() -> keras.Model:
    """BatchNormalization in a model, in a nested model and in a wrapper."""
    layers = keras.layers
    block = keras.Sequential([layers.Input((8, 4)), layers.Dense(4), layers.BatchNormalization()], name="block")
    inputs = layers.Input((8, 4))
    x = layers.TimeDistributed(layers.BatchNormalization())(block(layers.BatchNormalization()(inputs)))
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))


@pytest.mark.parametrize("change", [lambda model: ghost_normalization(model, 4), synchronize_normalization])
def test_a_model_is_trained_saved_and_loaded_by_plain_keras(change: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = nested()
    assert change(model) is model
    model.compile(optimizer="sgd", loss="mse")
    x, y = batch(16, (8, 4)), np.ones((16, 1), np.float32)
    model.fit(x, y, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
    loaded.fit(x, y, batch_size=8, verbose=0)
    found = [layer for layer in loaded._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert [type(layer) for layer in found] == [keras.layers.BatchNormalization] * 3
    assert not any({"call", "_moments", "hpcdl_normalization"} & vars(layer).keys() for layer in found)
    keras.models.clone_model(model)


def test_every_layer_of_a_nested_model_is_changed_and_one_rank_computes_as_before() -> None:
    keras.utils.set_random_seed(0)
    ghost, alone = ghost_normalization(nested(), 4), synchronize_normalization(nested())

    def count(model: keras.Model, name: str) -> int:
        return sum(name in vars(layer) for layer in model._flatten_layers())

    assert count(ghost, "call") == 3
    assert count(alone, "_moments") == 0


class Recorder(SingleEngine):
    """Two ranks of which the other has nothing; keeps the names of sums."""

    size = 2

    def __init__(self) -> None:
        self.names: list[str] = []

    def sum_tensors(self, tensors: Any, name: str = "gradients") -> Any:
        self.names.append(name)
        return list(tensors)


def test_sums_that_may_be_under_way_at_once_have_two_names_and_ranks_the_same(joined: Session) -> None:
    """A rank that compiles a second graph names its sums as in the first."""
    joined.engine = recorder = Recorder()
    layers = keras.layers
    inputs, shared = layers.Input((9,)), layers.BatchNormalization()
    x = shared(layers.Dense(9)(shared(inputs)))
    model = synchronize_normalization(keras.Model(inputs, layers.BatchNormalization()(x)))
    run = tf.function(lambda x, weight: step(model, x, weight), autograph=False)
    graphs = []
    for samples in (8, 8, 5):
        recorder.names.clear()
        run(tf.constant(batch(samples, (9,))), tf.constant(weighing(samples, (9,))))
        graphs.append(list(recorder.names))
    assert len(set(graphs[0])) == 6
    assert graphs == [graphs[0], [], graphs[0]]


def test_xla_which_cannot_sum_over_ranks_is_off(joined: Session) -> None:
    joined.engine = Recorder()
    before, after = network((9,)), network((9,))
    before.compile("sgd", "mse", jit_compile=True)
    synchronize_normalization(before)
    synchronize_normalization(after)
    with pytest.warns(UserWarning, match="jit_compile"):
        after.compile("sgd", "mse", jit_compile=True)
    assert not before.jit_compile and not after.jit_compile


def test_what_is_refused() -> None:
    dense = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])

    class Own(keras.layers.BatchNormalization):
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return inputs

    trained = network((9,))
    trained.compile("sgd", "mse")
    trained.train_on_batch(batch(4, (9,)), batch(4, (9,)))
    own = keras.Sequential([keras.layers.Input((3,)), Own()])
    first = keras.Sequential([keras.layers.Input((3,), batch_size=4), keras.layers.BatchNormalization(axis=0)])
    for change in (lambda model: ghost_normalization(model, 4), synchronize_normalization):
        for model, told in (
            (dense, "no BatchNormalization"),
            (own, "class Own"),
            (trained, "has trained"),
            (first, "axis=0"),
            (synchronize_normalization(network((9,))), "after hpcdl.synchronize_normalization"),
            (ghost_normalization(network((9,)), 4), "after hpcdl.ghost_normalization"),
        ):
            with pytest.raises(ConfigError, match=told) as caught:
                change(model)
            assert caught.value.expected and caught.value.fix
    for virtual_batch in (0, -1):
        with pytest.raises(ConfigError, match=f"virtual_batch={virtual_batch}"):
            ghost_normalization(network((9,)), virtual_batch)
    for options in ({"renorm": True}, {"synchronized": True}):
        with pytest.raises(ConfigError, match="=True"):
            ghost_normalization(network((9,), **options), 4)


def test_a_refused_model_stays_as_it_was() -> None:
    model = keras.Sequential(
        [keras.layers.Input((9,)), keras.layers.BatchNormalization(), keras.layers.BatchNormalization(renorm=True)]
    )
    with pytest.raises(ConfigError, match="renorm"):
        ghost_normalization(model, 4)
    synchronize_normalization(model)


def test_ghost_with_a_mask() -> None:
    """Of the second group one sample has no valid step; of the third all have none, and NaN hides there."""
    x, weight = batch(12, (8, 4)), weighing(12, (8, 4))
    mask = np.random.default_rng(3).random((12, 8)) < 0.6
    mask[5], mask[8:] = False, False
    x[10, 3] = np.nan
    weight[~mask] = 0
    both = [network((8, 4)), ghost_normalization(network((8, 4)), GROUP)]
    found = []
    for model, size in zip(both, (GROUP, 12), strict=True):
        parts = []
        for at in range(0, 12, size):
            with tf.GradientTape() as tape:
                values = tf.constant(x[at : at + size])
                tape.watch(values)
                outputs = model.layers[0](values, training=True, mask=tf.constant(mask[at : at + size]))
                kept = tf.where(mask[at : at + size, :, None], outputs, 0) * weight[at : at + size]
            parts.append([kept.numpy(), tape.gradient(kept, values).numpy()])
        found.append([np.concatenate(each) for each in zip(*parts, strict=True)])
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert_close(ours[:8], theirs[:8])
    for ours, theirs in zip(both[1].get_weights(), both[0].get_weights(), strict=True):
        assert_close(ours, theirs)
