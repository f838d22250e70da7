"""A small relative of VGG; VGG16 and VGG19 themselves are those of keras.applications."""

from __future__ import annotations

import keras
from keras import layers

from hpcdl.models.entry import Shape
from hpcdl.models.sequential import classifier


def vgg_small(shape: Shape, classes: int) -> keras.Model:
    """Four 3x3 convolutions with 32 to 256 filters, each with 2x2 max-pooling, then dropout of 0.5 and 256 units.

    Chosen here, for images of 64 to 224 pixels: J. Torres, "Python Deep Learning" (2020), chapter 11, trains a network
    of that kind on Dogs vs Cats, whose layers were not read. The 3x3 convolutions whose number doubles where pooling
    halves the image are those of Simonyan and Zisserman 2014.

    Args:
        shape: (height, width, channels).
        classes: units of the softmax.
    """
    blocks = [
        layer
        for filters in (32, 64, 128, 256)
        for layer in (layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D(2))
    ]
    hidden = [layers.Flatten(), layers.Dropout(0.5), layers.Dense(256, activation="relu")]
    return classifier("vgg-small", shape, classes, *blocks, *hidden)
