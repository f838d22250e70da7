"""MNIST and Fashion-MNIST networks of Jordi Torres's books and notebooks.

Each takes (height, width, channels) of the images and the units of the softmax; parameters are for 28 x 28 x 1
pixels and 10 classes. Layers are as printed in "Deep Learning: introducción práctica con Keras" (2018), "Python Deep
Learning" (2020) and the notebooks "Primera Red Neuronal" and "Deep learning crash course"; the registry says which.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from hpcdl.models.entry import Shape
from hpcdl.models.sequential import classifier


def mnist_mlp_sigmoid(shape: Shape, classes: int) -> keras.Model:
    """10 sigmoid units: 7,960 parameters."""
    return _mlp("mnist-mlp-sigmoid", shape, classes, [10], "sigmoid")


def mnist_mlp_relu(shape: Shape, classes: int) -> keras.Model:
    """10 relu units: 7,960 parameters."""
    return _mlp("mnist-mlp-relu", shape, classes, [10], "relu")


def mnist_mlp_512(shape: Shape, classes: int) -> keras.Model:
    """512 relu units: 407,050 parameters."""
    return _mlp("mnist-mlp-512", shape, classes, [512], "relu")


def mnist_cnn(shape: Shape, classes: int) -> keras.Model:
    """Two 5x5 convolutions with 32 and 64 filters, each with 2x2 max-pooling: 62,346 parameters."""
    return _cnn("mnist-cnn", shape, classes)


def mnist_mlp_64(shape: Shape, classes: int) -> keras.Model:
    """Twice 64 relu units: 55,050 parameters."""
    return _mlp("mnist-mlp-64", shape, classes, [64, 64], "relu")


def mnist_mlp_64_four(shape: Shape, classes: int) -> keras.Model:
    """Four times 64 relu units."""
    return _mlp("mnist-mlp-64-four", shape, classes, [64] * 4, "relu")


def mnist_mlp_64_sigmoid(shape: Shape, classes: int) -> keras.Model:
    """Twice 64 sigmoid units."""
    return _mlp("mnist-mlp-64-sigmoid", shape, classes, [64, 64], "sigmoid")


def mnist_mlp_64_dropout(shape: Shape, classes: int) -> keras.Model:
    """Twice 64 relu units, with dropout of 0.5 after each."""
    return _mlp("mnist-mlp-64-dropout", shape, classes, [64, 64], "relu", dropout=0.5)


def mnist_mlp_100(shape: Shape, classes: int) -> keras.Model:
    """100 sigmoid units: 79,510 parameters."""
    return _mlp("mnist-mlp-100", shape, classes, [100], "sigmoid")


def mnist_mlp_selu(shape: Shape, classes: int) -> keras.Model:
    """200 and 100 selu units, with batch normalisation before, between and after."""
    return classifier("mnist-mlp-selu", shape, classes, layers.Flatten(), *_normalised_selu())


def mnist_cnn_selu(shape: Shape, classes: int) -> keras.Model:
    """One 3x3 convolution with 64 filters and 2x2 max-pooling, then the hidden layers of mnist-mlp-selu."""
    return classifier(
        "mnist-cnn-selu",
        shape,
        classes,
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        *_normalised_selu(),
    )


def fashion_mlp(shape: Shape, classes: int) -> keras.Model:
    """The layers of mnist-mlp-sigmoid: 7,960 parameters."""
    return _mlp("fashion-mlp", shape, classes, [10], "sigmoid")


def fashion_cnn(shape: Shape, classes: int) -> keras.Model:
    """The layers of mnist-cnn, chosen here: the book's chapter 8 has such a network, but its layers were not read."""
    return _cnn("fashion-cnn", shape, classes)


def fashion_cnn_dropout_bn(shape: Shape, classes: int) -> keras.Model:
    """fashion-cnn with batch normalisation before each relu and dropout of 0.25 after each pooling.

    Chosen here: the book's chapter 8 adds both to its network, but its layers were not read. A convolution has no
    bias where the normalisation has an offset (Ioffe and Szegedy 2015, section 3.2).
    """
    blocks = [
        layer
        for filters in (32, 64)
        for layer in (
            layers.Conv2D(filters, 5, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
        )
    ]
    return classifier("fashion-cnn-dropout-bn", shape, classes, *blocks, layers.Flatten())


def _mlp(
    name: str, shape: Shape, classes: int, units: Sequence[int], activation: str, dropout: float = 0.0
) -> keras.Model:
    """Dense layers on the pixels, each followed by its dropout, if there is any."""
    hidden = [
        layer
        for each in units
        for layer in (layers.Dense(each, activation=activation), *([layers.Dropout(dropout)] if dropout else []))
    ]
    return classifier(name, shape, classes, layers.Flatten(), *hidden)


def _cnn(name: str, shape: Shape, classes: int) -> keras.Model:
    """Two 5x5 convolutions without padding, each with its pooling."""
    blocks = [
        layer
        for filters in (32, 64)
        for layer in (layers.Conv2D(filters, 5, activation="relu"), layers.MaxPooling2D(2))
    ]
    return classifier(name, shape, classes, *blocks, layers.Flatten())


def _normalised_selu() -> list[keras.layers.Layer]:
    """200 and 100 selu units that start as Klambauer et al. 2017 ask, with batch normalisation around each layer."""
    hidden = [
        layer
        for units in (200, 100)
        for layer in (
            layers.BatchNormalization(),
            layers.Dense(units, activation="selu", kernel_initializer="lecun_normal"),
        )
    ]
    return [*hidden, layers.BatchNormalization()]
