"""A small network with all that depends on who computes what: moving statistics and dropout."""

from __future__ import annotations

import keras
from keras import layers


def build(name: str, shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Takes what the registry's `build` takes."""
    return keras.Sequential(
        [
            layers.Input(shape),
            layers.Conv2D(4, 3, strides=2, use_bias=False),
            layers.BatchNormalization(momentum=0.7),
            layers.Activation("tanh"),
            layers.Dropout(0.3),
            layers.AveragePooling2D(3),
            layers.Flatten(),
            layers.Dense(12, activation="tanh", kernel_regularizer=keras.regularizers.L2(1e-3)),
            layers.Dropout(0.3),
            layers.Dense(classes, activation="softmax", dtype="float32"),
        ]
    )
