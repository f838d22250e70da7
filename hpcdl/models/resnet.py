"""Residual networks for small images: He et al. 2015, "Deep Residual Learning for Image Recognition", section 4.2."""

from __future__ import annotations

import keras
from keras import KerasTensor, layers

from hpcdl.models.entry import Shape


def resnet20(shape: Shape, classes: int) -> keras.Model:
    """ResNet-20: 0.27 million parameters."""
    return cifar_resnet(3, shape, classes, "resnet20")


def resnet32(shape: Shape, classes: int) -> keras.Model:
    """ResNet-32: 0.46 million parameters."""
    return cifar_resnet(5, shape, classes, "resnet32")


def resnet56(shape: Shape, classes: int) -> keras.Model:
    """ResNet-56: 0.85 million parameters."""
    return cifar_resnet(9, shape, classes, "resnet56")


def cifar_resnet(blocks: int, shape: Shape, classes: int, name: str) -> keras.Model:
    """6 x blocks + 2 layers in three stages of 16, 32 and 64 filters, with identity shortcuts (option A).

    Batch normalisation keeps 0.9 of its moving statistics a step, where Keras's default is 0.99.

    Args:
        blocks: of each stage, two convolutions each.
        shape: (height, width, channels).
        classes: units of the softmax.
        name: of the model.
    """
    inputs = layers.Input(shape)
    x = _convolution(inputs, 16, 1)
    x = layers.ReLU()(x)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(blocks):
            x = _block(x, filters, 2 if stage and not block else 1)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(classes, activation="softmax", kernel_initializer="he_normal", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=name)


def _block(x: KerasTensor, filters: int, stride: int) -> KerasTensor:
    y = layers.ReLU()(_convolution(x, filters, stride))
    y = _convolution(y, filters, 1)
    if stride > 1:
        # Option A: every second pixel, and zeros for the new channels; it has no parameters.
        x = layers.AveragePooling2D(1, strides=stride)(x)
        missing = filters - x.shape[-1]
        x = keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [missing // 2, missing - missing // 2]])
    return layers.ReLU()(layers.Add()([x, y]))


def _convolution(x: KerasTensor, filters: int, stride: int) -> KerasTensor:
    x = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization(momentum=0.9)(x)
