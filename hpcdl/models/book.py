"""Networks of Jordi Torres's Keras books and notebooks, layer by layer as printed."""

from __future__ import annotations

import keras
from keras import layers


def cifar10_cnn(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Three 3x3 convolutions with 32, 64 and 64 filters, each with 2x2 max-pooling, then 64 and `classes` units.

    122,570 parameters for CIFAR-10. Source: J. Torres, notebook "Análisis predictivo con IA".

    Args:
        shape: (height, width, channels).
        classes: units of the softmax.
    """
    blocks = [
        layer
        for filters in (32, 64, 64)
        for layer in (
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2, padding="same"),
        )
    ]
    return keras.Sequential(
        [
            layers.Input(shape),
            *blocks,
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(classes, activation="softmax", dtype="float32"),
        ],
        name="cifar10-cnn",
    )
