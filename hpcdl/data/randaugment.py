"""RandAugment (Cubuk et al. 2020) for a batch at once. Draws and images are as in `hpcdl.data.augment`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import tensorflow as tf

from hpcdl.data import color
from hpcdl.data.batchwise import grouped, height_width, whole

LAYERS = 2
"""Operations an image in randaugment: N of the paper."""
MAGNITUDE = 0.3
"""Strength of randaugment's operations as a share of the strongest: level 9 of 30, torchvision's default."""
BEYOND = 128.0
"""What randaugment's shifts, shears and turns bring in from beyond the image: mid grey, as the authors' code."""


def randaugment(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Two operations one after the other, each drawn from OPERATIONS, of a fixed strength (Cubuk et al. 2020).

    Strengths are torchvision's: MAGNITUDE times a shear of 0.3, a turn of 30 degrees, a shift of 150/331 of the side,
    and a factor of 1 ± 0.9; 4 bits fewer; negatives from 255 down. Geometry takes the nearest pixel.

    Args:
        images: (batch, height, width, channels).
        draws: (batch, 2); each gives an operation and, where it has one, its direction, all equally likely.
    """
    cells = whole(draws, 2 * len(OPERATIONS))
    for layer in range(LAYERS):
        sign = tf.cast(2 * (cells[:, layer] % 2) - 1, tf.float32)
        images = grouped(cells[:, layer] // 2, list(OPERATIONS.values()), images, sign)
    return images


def _enhance(change: Callable[..., tf.Tensor], images: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    return change(images, 1.0 + 0.9 * MAGNITUDE * sign)


def _posterize(images: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    return color.posterize(images, 8 - round(4 * MAGNITUDE))


def _solarize(images: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    return color.solarize(images, 255.0 * (1 - MAGNITUDE))


def _shear_x(images: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    return _affine(images, sign, (0.0, 0.3 * MAGNITUDE, 0.0, 0.0, 0.0, 0.0))


def _shear_y(images: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    return _affine(images, sign, (0.0, 0.0, 0.0, 0.3 * MAGNITUDE, 0.0, 0.0))


def _translate_x(images: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    return _affine(images, sign, (0.0, 0.0, _distance(height_width(images)[1]), 0.0, 0.0, 0.0))


def _translate_y(images: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    return _affine(images, sign, (0.0, 0.0, 0.0, 0.0, 0.0, _distance(height_width(images)[0])))


def _rotate(images: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    angle = math.radians(30 * MAGNITUDE)
    down, right = (tf.cast(side, tf.float32) / 2.0 for side in height_width(images))
    sine, cosine = math.sin(angle), math.cos(angle)
    turn = (0.0, sine, -sine * down, -sine, 0.0, sine * right)
    return _affine(images, sign, turn, (cosine, 0.0, right - cosine * right, 0.0, cosine, down - cosine * down))


def _distance(side: int | tf.Tensor) -> tf.Tensor:
    """By how many pixels an image of that side is shifted, whole."""
    return tf.floor(tf.cast(side, tf.float32) * (150 / 331 * MAGNITUDE))


OPERATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "identity": lambda images, sign: images,
    "autocontrast": lambda images, sign: color.autocontrast(images),
    "equalize": lambda images, sign: color.equalize(images),
    "posterize": _posterize,
    "solarize": _solarize,
    "color": partial(_enhance, color.saturation),
    "contrast": partial(_enhance, color.contrast),
    "brightness": partial(_enhance, color.brightness),
    "sharpness": partial(_enhance, color.sharpness),
    "rotate": _rotate,
    "shear-x": _shear_x,
    "shear-y": _shear_y,
    "translate-x": _translate_x,
    "translate-y": _translate_y,
}
"""The paper's 14: (images (n, height, width, channels), direction (n,) of -1 or 1) -> images."""


Six = tuple[float | tf.Tensor, ...]


def _affine(images: tf.Tensor, sign: tf.Tensor, moving: Six, still: Six = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)) -> tf.Tensor:
    """The pixel at (x, y) becomes the one at (a x + b y + c, d x + e y + f), as in Pillow's Image.transform.

    Args:
        images: (n, height, width, channels), whose pixels have their middle at halves.
        sign: (n,).
        moving: of the coefficients a … f = still + sign x moving.
        still: the rest of them.
    """

    def from_first_pixel(six: Six, one: float) -> tf.Tensor:
        """TensorFlow counts from the middle of the first pixel."""
        a, b, c, d, e, f = six
        return tf.stack([a, b, c + (a + b - one) / 2.0, d, e, f + (d + e - one) / 2.0, 0.0, 0.0])

    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=from_first_pixel(still, 1.0) + sign[:, tf.newaxis] * from_first_pixel(moving, 0.0),
        output_shape=height_width(images),
        fill_value=BEYOND,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
