"""A small regression that ranks and tests solve alike."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

SAMPLES, BATCH, EPOCHS = 50, 16, 3
Array = np.ndarray[Any, Any]


def samples() -> tuple[Array, Array]:
    """x (50, 6) and y (50, 1)."""
    random = np.random.default_rng(0)
    x = random.standard_normal((SAMPLES, 6)).astype(np.float32)
    return x, (x @ random.standard_normal((6, 1))).astype(np.float32)


def network(seed: int) -> keras.Model:
    """A small network that starts from `seed`."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(1)])


def optimizer() -> keras.optimizers.Optimizer:
    """With clipping, which must see averaged gradients."""
    return keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=0.5)


def words() -> tuple[Array, Array]:
    """16 sentences of 4 words out of 30, and one of 3 classes each, one-hot."""
    random = np.random.default_rng(1)
    return random.integers(0, 30, (16, 4)), np.eye(3, dtype=np.float32)[random.integers(0, 3, 16)]


def reader(seed: int) -> keras.Model:
    """A network with an embedding, whose gradients are sparse."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [layers.Input((4,), dtype="int32"), layers.Embedding(30, 5), layers.Flatten(), layers.Dense(3, "softmax")]
    )
