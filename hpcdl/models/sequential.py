"""Layers in a row that end in a classifier."""

from __future__ import annotations

import keras
from keras import layers

from hpcdl.models.entry import Shape


def classifier(name: str, shape: Shape, classes: int, *hidden: keras.layers.Layer) -> keras.Model:
    """A network of layers in a row and a softmax, which stays in float32 where the others compute in 16 bits.

    Args:
        name: of the model.
        shape: (height, width, channels) of the images.
        classes: units of the softmax.
        hidden: the layers between; the last one's output is flat.
    """
    output = layers.Dense(classes, activation="softmax", dtype="float32")
    return keras.Sequential([layers.Input(shape), *hidden, output], name=name)
