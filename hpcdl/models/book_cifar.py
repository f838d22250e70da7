"""CIFAR-10 networks of Jordi Torres's Keras notebook "Análisis predictivo con IA", layer by layer as printed.

Each takes (height, width, channels) of the images and the units of the softmax; parameters are for 32 x 32 x 3
pixels and 10 classes.
"""

from __future__ import annotations

import keras
from keras import layers

from hpcdl.models.entry import Shape
from hpcdl.models.sequential import classifier


def cifar10_dense_1(shape: Shape, classes: int) -> keras.Model:
    """10 relu units on the pixels: 30,840 parameters, which under the notebook's settings learn nothing."""
    return classifier("cifar10-dense-1", shape, classes, layers.Flatten(), layers.Dense(10, activation="relu"))


def cifar10_dense_2(shape: Shape, classes: int) -> keras.Model:
    """32, 64 and 128 relu units on the pixels: 110,058 parameters."""
    hidden = [layers.Dense(units, activation="relu") for units in (32, 64, 128)]
    return classifier("cifar10-dense-2", shape, classes, layers.Flatten(), *hidden)


def cifar10_cnn_1(shape: Shape, classes: int) -> keras.Model:
    """One 5x5 convolution with 16 filters, 2x2 max-pooling, then 64 and 32 units: 265,834 parameters."""
    return classifier(
        "cifar10-cnn-1",
        shape,
        classes,
        layers.Conv2D(16, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2, padding="same"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(32, activation="relu"),
    )


def cifar10_cnn(shape: Shape, classes: int) -> keras.Model:
    """Three 3x3 convolutions with 32, 64 and 64 filters, each with 2x2 max-pooling, then 64 units: 122,570
    parameters."""
    return classifier(
        "cifar10-cnn", shape, classes, *_convolutions(), layers.Flatten(), layers.Dense(64, activation="relu")
    )


def cifar10_cnn_dropout(shape: Shape, classes: int) -> keras.Model:
    """The convolutions of cifar10-cnn with dropout of 0.2 after each pooling, then 128 and 64 units: 196,426
    parameters."""
    return classifier(
        "cifar10-cnn-dropout",
        shape,
        classes,
        *_convolutions(dropout=0.2),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(64, activation="relu"),
    )


def _convolutions(dropout: float = 0.0) -> list[keras.layers.Layer]:
    """Three convolutions, each with its pooling and, above 0, its dropout."""
    return [
        layer
        for filters in (32, 64, 64)
        for layer in (
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2, padding="same"),
            *([layers.Dropout(dropout)] if dropout else []),
        )
    ]
