"""What each rank does under `hpcdl.synchronize_normalization`, and the networks and samples that the judge takes too.

Run as a script it writes OUT/RANK.npz; test_normalization.py judges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import record
import tensorflow as tf

import hpcdl
from hpcdl.training import session
from hpcdl.training.normalization import synchronize_normalization

Array = np.ndarray[Any, Any]
COUNTS = ((3, 5, 4, 2), (3, 4, 2, 1), (5, 1, 0, 2), (2, 0, 3, 4))
"""Samples of each rank, step by step: of other numbers, so the ranks compile other numbers of graphs."""


def branches() -> keras.Model:
    """Two layers side by side, which look alike, before a nested model."""
    layers = keras.layers
    inputs = layers.Input((6, 5, 3))
    x = layers.Conv2D(4, 3)(inputs)
    x = layers.Add()([layers.BatchNormalization()(x) for _ in range(2)])
    # Without an Input of its own, which would round float64 to float32 here.
    nested = [layers.Conv2D(4, 3, activation="tanh", padding="same"), layers.BatchNormalization(momentum=0.7)]
    x = keras.Sequential(nested)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def first_axis() -> keras.Model:
    """Channels before places, without gamma."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((6, 5, 3)),
            layers.Conv2D(4, 3, activation="tanh"),
            layers.BatchNormalization(axis=1, scale=False),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def masked() -> keras.Model:
    """Steps with a mask."""
    layers = keras.layers
    inputs = layers.Input((6, 15))
    x = layers.BatchNormalization()(layers.Dense(4, activation="tanh")(layers.Masking()(inputs)))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def twice() -> keras.Model:
    """One layer at two places, and renorm's corrections."""
    layers = keras.layers
    inputs = layers.Input((90,))
    x = layers.Dense(4)(inputs)
    shared = layers.BatchNormalization()
    x = shared(layers.Dense(4, activation="tanh")(shared(x)))
    return keras.Model(inputs, layers.Dense(2)(layers.BatchNormalization(renorm=True)(x)))


CASES: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "branches": (branches, "float32"),
    "branches in float64": (branches, "float64"),
    "branches in float16": (branches, "mixed_float16"),
    "channels first": (first_axis, "float64"),
    "masked": (masked, "float64"),
    "twice": (twice, "float64"),
}


def network(case: str) -> keras.Model:
    """The case's network, with the same weights everywhere."""
    build, policy = CASES[case]
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy("float32")


def dtype_of(case: str) -> str:
    """In which a case's samples and loss are."""
    return "float64" if CASES[case][1] == "float64" else "float32"


def samples(case: str, step: int, rank: int, count: int) -> tuple[Array, Array]:
    """One rank's samples (count, …) of a step, and what they should give (count, 2).

    Ranks differ in mean and in deviation, and every fifth of the masked steps is no step.
    """
    random = np.random.default_rng([step, rank])
    x = random.normal(3 + rank, 1 + rank, (count, 6, 15))
    x[random.random((count, 6)) < 0.2] = 0
    y = random.standard_normal((count, 2))
    return x.reshape(count, *network(case).input_shape[1:]), y


def far(step: int, rank: int, count: int) -> Array:
    """Samples (count, 9) of deviation 1, 1000 from zero."""
    return (1000 + np.random.default_rng([step, rank]).standard_normal((count, 9))).astype(np.float32)


def gradients(model: keras.Model, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Outputs, and gradients of the mean squared error over these samples by the weights."""
    usual = keras.config.epsilon()
    keras.config.set_epsilon(1e-20)  # 1e-7, which Keras adds to the count where there is a mask
    try:
        with tf.GradientTape() as tape:
            outputs = tf.cast(model(x, training=True), y.dtype)
            loss = tf.reduce_mean(tf.square(outputs - y))
    finally:
        keras.config.set_epsilon(usual)
    return outputs, tape.gradient(loss, [variable.value for variable in model.trainable_variables])


def train(world: hpcdl.World, case: str, known: Callable[[int], float | None], compiled: bool) -> dict[str, Array]:
    """The case's steps, without updates of the weights: outputs, gradients over all samples, what moved.

    Args:
        world: the ranks.
        case: one of CASES.
        known: the session's samples of a rank with that many.
        compiled: whether each step is a graph.
    """
    joined, model = session.current(), synchronize_normalization(network(case))
    told = known(1) is not None

    def step(x: tf.Tensor, y: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        joined.samples = count if told else None
        try:
            return gradients(model, x, y)
        finally:
            joined.samples = None

    run = tf.function(step, autograph=False) if compiled else step
    found: dict[str, Array] = {}
    for number, counts in enumerate(COUNTS):
        own, total = counts[world.rank], sum(counts[: world.size])
        if 0 in counts[: world.size] and not told:
            continue
        x, y = samples(case, number, world.rank, own)
        if own == 0:  # stands in for the empty batch, with a loss of infinity
            x, y = np.full((1, *x.shape[1:]), 1e4), np.full((1, 2), np.inf)
        dtype = dtype_of(case)
        outputs, slopes = run(tf.cast(x, dtype), tf.cast(y, dtype), tf.constant(known(own) or 0.0))
        found[f"{number} outputs"] = outputs.numpy()[:own]
        for place, slope in enumerate(slopes):
            share = slope.numpy().astype(np.float64) * own / total if own else np.zeros(slope.shape)
            found[f"{number} gradient {place}"] = joined.engine.sum_array(share)
    return found | {f"moved {place}": value.numpy() for place, value in enumerate(model.non_trainable_variables)}


def train_far(world: hpcdl.World) -> dict[str, Array]:
    """The variance of samples that lie far from zero."""
    model = keras.Sequential([keras.layers.Input((9,)), keras.layers.BatchNormalization(momentum=0.0)])
    synchronize_normalization(model)
    found = {}
    for number, counts in enumerate(COUNTS[:2]):
        model(far(number, world.rank, counts[world.rank]), training=True)
        found[f"{number} mean"], found[f"{number} variance"] = (
            value.numpy() for value in model.non_trainable_variables
        )
    return found


def fitted() -> tuple[keras.Model, keras.optimizers.Optimizer, keras.losses.Loss, tuple[Array, Array]]:
    """What `fit` takes: 20 samples, which leave 2 for the last batch of 6."""
    optimizer, loss = keras.optimizers.SGD(0.02, momentum=0.9), keras.losses.MeanSquaredError(dtype="float64")
    x, y = (values.astype(np.float32) for values in samples("branches", 0, 0, 20))  # as Keras makes arrays
    return network("branches in float64"), optimizer, loss, (x, y)


def fit(world: hpcdl.World) -> dict[str, Array]:
    """Two epochs, with gradients weighted by hpcdl.distribute."""
    model, optimizer, loss, data = fitted()
    synchronize_normalization(model).compile(hpcdl.distribute(optimizer), loss)
    model.fit(hpcdl.shard(data, 6, shuffle=False), epochs=2, shuffle=False, callbacks=hpcdl.callbacks(), verbose=0)
    return {str(place): weight for place, weight in enumerate(model.get_weights())}


def main() -> None:
    """Does everything and writes OUT/RANK.npz."""
    world = hpcdl.init()
    for _ in range(world.rank):  # so that Keras gives the layers of each rank other names
        keras.layers.BatchNormalization()
    work = {case: lambda case=case: train(world, case, float, compiled=True) for case in CASES}
    work |= {
        "eager": lambda: train(world, "branches in float64", float, compiled=False),
        "untold": lambda: train(world, "branches in float64", lambda own: None, compiled=True),
        "alike": lambda: train(world, "branches in float64", lambda own: 1.0, compiled=True),
        "far": lambda: train_far(world),
        "fit": lambda: fit(world),
    }
    model = synchronize_normalization(network("branches"))
    if world.is_leader:
        model.save(record.out() / "model.keras")
    record.save(world.rank, work)


if __name__ == "__main__":
    main()
