"""Changes of colour as Pillow's ImageEnhance and ImageOps make them, for a batch at once.

Images are (batch, height, width, channels), uint8 or float32, with values in [0, 255] and 1 or 3 channels. What comes
back has the same shape and type. uint8 values are cut off to whole ones after each change, as Pillow does; float32
values keep their fractions. `factors` is (batch,), float32, one an image: 1 changes nothing.

An image's bits do not depend on its place in the batch: sums over pixels are of whole numbers, and there is no exp
or log, which TensorFlow rounds in another way where it computes several at once.
"""

from __future__ import annotations

import tensorflow as tf

RED, GREEN, BLUE = 19595.0, 38470.0, 7471.0
"""Shares of a grey value (ITU-R BT.601) times UNIT, as Pillow rounds them: 0.299, 0.587, 0.114."""
UNIT = 65536.0
JITTER = 0.4
"""Factors of color_jitter lie in [1 - JITTER, 1 + JITTER]: brightness, contrast and saturation of torchvision's
ColorJitter(0.4, 0.4, 0.4)."""


def brightness(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Times the factor: 0 makes black (ImageEnhance.Brightness)."""
    return _away_from(tf.zeros([], tf.float32), images, factors)


def contrast(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Away from the image's mean grey value by the factor: 0 makes it all that grey (ImageEnhance.Contrast)."""
    shades = gray(images)
    pixels = tf.cast(tf.reduce_prod(tf.shape(shades)[1:]), tf.float64)
    # 1 / 256 of a level is what a fraction is worth here; whole numbers add up alike in any order.
    total = tf.reduce_sum(tf.cast(shades * 256.0, tf.int64), axis=[1, 2, 3], keepdims=True)
    mean = tf.cast(tf.cast(total, tf.float64) / (256.0 * pixels), tf.float32)
    return _away_from(tf.floor(mean + 0.5) if images.dtype == tf.uint8 else mean, images, factors)


def saturation(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Away from each pixel's grey value by the factor: 0 makes it grey (ImageEnhance.Color). Grey images stay."""
    return images if images.shape[-1] == 1 else _away_from(gray(images), images, factors)


def sharpness(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Away from the smoothed image by the factor: 0 is smooth, 2 is sharp (ImageEnhance.Sharpness).

    Smooth is the mean of 3 x 3 pixels in which the middle one counts 5 times; pixels at the border stay.
    """
    pixels = tf.cast(images, tf.float32)
    rows = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    inner = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4.0 * pixels[:, 1:-1, 1:-1]) / 13.0
    inner = tf.floor(inner + 0.5) if images.dtype == tf.uint8 else inner
    inner = tf.concat([pixels[:, 1:-1, :1], inner, pixels[:, 1:-1, -1:]], axis=2)
    return _away_from(tf.concat([pixels[:, :1], inner, pixels[:, -1:]], axis=1), images, factors)


def autocontrast(images: tf.Tensor) -> tf.Tensor:
    """Stretches each channel of each image to 0 … 255; one of a single value stays (ImageOps.autocontrast)."""
    pixels = tf.cast(images, tf.float32)
    low = tf.reduce_min(pixels, axis=[1, 2], keepdims=True)
    high = tf.reduce_max(pixels, axis=[1, 2], keepdims=True)
    # The product first: it is exact for whole numbers, so that a quotient which is whole is not cut off below itself.
    stretched = (pixels - low) * 255.0 / tf.where(high > low, high - low, 1.0)
    return _as(images.dtype, tf.where(high > low, tf.minimum(stretched, 255.0), pixels))


def equalize(images: tf.Tensor) -> tf.Tensor:
    """Spreads the values of each channel of each image evenly over 0 … 255 (ImageOps.equalize).

    Whole values: fractions of a float32 image are cut off.
    """
    levels = tf.cast(images, tf.int32)
    batch, height, width, channels = tf.unstack(tf.shape(images))
    planes = batch * channels
    index = levels + 256 * tf.reshape(tf.range(planes), [batch, 1, 1, channels])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(index), index, 256 * planes)
    counts = tf.reshape(counts, [planes, 256])
    brightest = tf.reshape(tf.reduce_max(levels, axis=[1, 2]), [planes])
    step = (height * width - tf.gather(counts, brightest, batch_dims=1)[:, tf.newaxis]) // 255
    below = tf.cumsum(counts, axis=1, exclusive=True)
    table = tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    return tf.cast(tf.gather(tf.reshape(table, [-1]), index), images.dtype)


def posterize(images: tf.Tensor, bits: int) -> tf.Tensor:
    """Keeps the leading bits of 8 of each value (ImageOps.posterize)."""
    step = 2.0 ** (8 - bits)
    return _as(images.dtype, tf.floor(tf.cast(images, tf.float32) / step) * step)


def solarize(images: tf.Tensor, threshold: float) -> tf.Tensor:
    """Turns each value from the threshold on into its negative (ImageOps.solarize)."""
    return tf.where(tf.cast(images, tf.float32) < threshold, images, 255 - images)


def color_jitter(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Brightness, then contrast, then saturation, always in this order, by a factor each; the hue stays.

    Args:
        images: (batch, height, width, channels).
        draws: (batch, 3) in [0, 1); each gives its factor, uniform in [1 - JITTER, 1 + JITTER].
    """
    factors = (1.0 - JITTER) + 2.0 * JITTER * draws
    for column, change in enumerate((brightness, contrast, saturation)):
        images = change(images, factors[:, column])
    return images


def gray(images: tf.Tensor) -> tf.Tensor:
    """Grey values (batch, height, width, 1), float32; of uint8 images they are whole, rounded (Image.convert("L"))."""
    pixels = tf.cast(images, tf.float32)
    if images.shape[-1] == 1:
        return pixels
    red, green, blue = tf.split(pixels, 3, axis=-1)
    # Whole numbers below 2 ** 24 for uint8, so float32 holds them exactly.
    shades = red * RED + green * GREEN + blue * BLUE
    return tf.floor((shades + UNIT / 2) / UNIT) if images.dtype == tf.uint8 else shades / UNIT


def _away_from(base: tf.Tensor, images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """base + factor x (images - base), within 0 … 255; the base is float32 and broadcasts."""
    mixed = base + factors[:, tf.newaxis, tf.newaxis, tf.newaxis] * (tf.cast(images, tf.float32) - base)
    return _as(images.dtype, tf.clip_by_value(mixed, 0.0, 255.0))


def _as(dtype: tf.DType, values: tf.Tensor) -> tf.Tensor:
    """float32 values as float32, or cut off to uint8."""
    return tf.cast(values, dtype)
