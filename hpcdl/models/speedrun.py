"""Networks of hpcdl's own that learn CIFAR-10 in little time.

Ideas of Page 2018, "How to train your ResNet" (few wide layers, a scaled-down classifier, the maximum over
places), and Jordan 2024, "94% on CIFAR-10 in 3.29 seconds" (a first layer that whitens patches and does not
learn, both signs of it, pooling before normalisation, convolutions that start as the identity, a smooth
activation). There the filters come from the training images; here they are cosines, which need no data: the
principal components of photographs' patches are nearly those.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
from keras import KerasTensor, layers

from hpcdl.models.entry import Shape

OPPONENTS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
"""Brightness and two colour differences of red, green and blue, orthonormal."""


DEVIATION = 1 / 8
"""Of what a shifted activation normalises to."""


@dataclass(frozen=True)
class Patches:
    """What the first layer looks at."""

    side: int
    stride: int
    brightness: int
    """Highest sum of a filter's two frequencies; what is finer is mostly noise, in colour more than in brightness."""
    color: int


COARSE = Patches(4, 2, brightness=3, color=1)
FINE = Patches(2, 1, brightness=2, color=2)


def speedrun(shape: Shape, classes: int) -> keras.Model:
    """Three convolutions of 32, 128 and 128 filters, on patches at half the resolution."""
    inputs = layers.Input(shape)
    x = _stem(inputs, COARSE)
    for filters in (32, 128):
        x = _activated(layers.MaxPooling2D(2)(_convolution(x, filters)))
    x = _activated(_convolution(x, 128))
    return _classifier("speedrun", inputs, x, classes, scale=0.25)


def speedrun_90(shape: Shape, classes: int) -> keras.Model:
    """Three times two convolutions, of 48, 128 and 256 filters, on patches at the whole resolution."""
    inputs = layers.Input(shape)
    x = _stem(inputs, FINE)
    for filters in (48, 128, 256):
        x = _shifted(layers.MaxPooling2D(2)(_identity(x, filters)))
        x = _shifted(_identity(x, filters))
    return _classifier("speedrun-90", inputs, x, classes, scale=1 / (9 * DEVIATION))


def patch_filters(channels: int, patches: Patches) -> npt.NDArray[np.float32]:
    """The first layer's filters, (side, side, channels, filters): products of cosines (DCT-II), orthonormal.

    Args:
        channels: 3 for red, green and blue, of which brightness and two colour differences are made; others
            are each looked at alone, as brightness.
        patches: their size, and how fine the waves are.
    """
    side, brightness, color = patches.side, patches.brightness, patches.color
    places, orders = np.meshgrid(np.arange(side), np.arange(side))
    waves = np.cos(np.pi * (places + 0.5) * orders / side) * np.sqrt(np.where(orders, 2, 1) / side)
    mixes, finest = (
        (OPPONENTS, (brightness, color, color)) if channels == 3 else (np.eye(channels), (brightness,) * channels)
    )
    filters = [
        np.multiply.outer(np.outer(waves[down], waves[across]), mix)
        for mix, most in zip(mixes, finest, strict=True)
        for down in range(side)
        for across in range(side)
        if down + across <= most
    ]
    return np.stack(filters, axis=-1, dtype=np.float32, casting="same_kind")


def _stem(inputs: KerasTensor, patches: Patches) -> KerasTensor:
    """Patches, each filter's answers of equal deviation, with both signs."""
    filters = patch_filters(inputs.shape[-1], patches)
    fixed = layers.Conv2D(
        filters.shape[-1], patches.side, patches.stride, padding="same", use_bias=False, trainable=False
    )
    x = fixed(inputs)
    fixed.set_weights([filters])
    x = _normalized(x, center=False, scale=False)
    return layers.ReLU()(layers.Concatenate()([x, -x]))


def _convolution(x: KerasTensor, filters: int) -> KerasTensor:
    return layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)


def _identity(x: KerasTensor, filters: int) -> KerasTensor:
    """A convolution whose first filters start as those that change nothing (Jordan 2024, section 3.3)."""
    channels = min(x.shape[-1], filters)
    convolution = layers.Conv2D(filters, 3, padding="same", use_bias=False)
    x = convolution(x)
    kernel = np.array(convolution.kernel)
    kernel[..., :channels] = 0
    kernel[1, 1, range(channels), range(channels)] = 1
    convolution.set_weights([kernel])
    return x


def _activated(x: KerasTensor) -> KerasTensor:
    return layers.ReLU()(_normalized(x))


def _shifted(x: KerasTensor) -> KerasTensor:
    """An activation whose offsets learn at DEVIATION⁻² times the rate of all else (Jordan 2024, section 3.4).

    Only what is relative to the deviation counts for the next layer, which is normalised again: a small one
    makes an offset's gradient larger by its inverse, and so is the effect of each change.

    The activation is x σ(1.702 x) of what is normalised, which is nearly GELU (Hendrycks and Gimpel 2016, section 2).
    """
    normalization = layers.BatchNormalization(
        momentum=0.8, epsilon=1.1e-5, gamma_initializer=keras.initializers.Constant(DEVIATION)
    )
    x = normalization(x)
    normalization.gamma.trainable = False
    return layers.Multiply()([x, layers.Activation("sigmoid")(layers.Rescaling(1.702 / DEVIATION)(x))])


def _normalized(x: KerasTensor, **options: bool) -> KerasTensor:
    """Statistics that keep 0.8 a step: a run has only some hundred."""
    return layers.BatchNormalization(momentum=0.8, epsilon=1e-4, **options)(x)


def _classifier(name: str, inputs: KerasTensor, x: KerasTensor, classes: int, scale: float) -> keras.Model:
    """The maxima over places, scaled down so that the first steps are small, and a softmax."""
    x = layers.Rescaling(scale)(layers.GlobalMaxPooling2D()(x))
    return keras.Model(inputs, layers.Dense(classes, activation="softmax", dtype="float32")(x), name=name)
