"""Windows of images: random ones for training, central ones for evaluation, and how they are cut out and scaled.

Draws and images are as in `hpcdl.data.augment`.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

Size = int | tuple[int, int]
"""Height and width, or the side of a square."""
SMALLEST = 0.08
"""Least share of the area that a random window covers."""
RATIOS = np.exp(np.log(4 / 3) * (np.arange(-255, 256, 2) / 256)).astype(np.float32)
"""256 ratios of width to height, in even steps of the logarithm from 3/4 to 4/3; at 1,000 pixels the steps are 1."""
CENTER = 0.875
"""Share of the short side in an evaluation window: 224 of 256."""


def crop_windows(heights: tf.Tensor, widths: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Random windows for random-resized-crop: 8 to 100 % of the area, 3:4 to 4:3 (Szegedy et al. 2015, section 6).

    torchvision's RandomResizedCrop draws an area share, uniform in [0.08, 1], and a ratio of the sides, log-uniform in
    [3/4, 4/3], again until the window fits, at most 10 times. These windows have the distribution of the first that
    fits, however many tries that takes, from 4 numbers: one of RATIOS, weighted by the range of shares that fit at it;
    a share, uniform in that range; a place, uniform among all. Where nothing fits, as in images longer than 16.7
    times their other side, it is the largest central window of an allowed ratio, as in torchvision.

    Args:
        heights: (batch,), int32, of the images.
        widths: (batch,), int32.
        draws: (batch, 4).

    Returns:
        (batch, 4), int32: top, left, height, width.
    """
    height, width = tf.cast(heights, tf.float32), tf.cast(widths, tf.float32)
    area = height * width
    # A side that rounds to the image's fits.
    wide_most, high_most = (tf.square(side + 0.5) / area for side in (width, height))
    largest = tf.minimum(wide_most[:, tf.newaxis] / RATIOS, high_most[:, tf.newaxis] * RATIOS)
    largest = tf.minimum(largest, 1.0)
    # Whole numbers, so that a sum has the same bits however TensorFlow forms it.
    weights = tf.cast(tf.maximum(largest - SMALLEST, 0.0) * 2.0**20, tf.int32)
    reached = tf.cast(tf.cumsum(weights, axis=1), tf.float32)
    total = reached[:, -1]
    fits = total > 0
    chosen = tf.reduce_sum(tf.cast(reached <= (draws[:, 0] * total)[:, tf.newaxis], tf.int32), axis=1)
    chosen = tf.minimum(chosen, len(RATIOS) - 1)
    share = SMALLEST + draws[:, 1] * (tf.gather(largest, chosen, batch_dims=1) - SMALLEST)
    ratio = tf.gather(tf.constant(RATIOS), chosen)

    nearest = tf.clip_by_value(width / height, 3 / 4, 4 / 3)
    high = tf.where(fits, tf.sqrt(area * share / ratio), tf.minimum(height, width / nearest))
    wide = tf.where(fits, tf.sqrt(area * share * ratio), tf.minimum(width, height * nearest))
    high, wide = _side(high, height), _side(wide, width)
    top = tf.where(fits, tf.floor(draws[:, 2] * (height - high + 1.0)), tf.floor((height - high) / 2.0))
    left = tf.where(fits, tf.floor(draws[:, 3] * (width - wide + 1.0)), tf.floor((width - wide) / 2.0))
    return tf.cast(tf.stack([top, left, high, wide], axis=1), tf.int32)


def center_window(heights: tf.Tensor, widths: tf.Tensor, size: Size, share: float = CENTER) -> tf.Tensor:
    """Windows for evaluation, in the middle: what is left of an image of which `size` was cut out after scaling.

    Scaled so that size / share just fits into it: of a square, the short side becomes size / share.

    Args:
        heights: (batch,), int32, of the images.
        widths: (batch,), int32.
        size: that the window is scaled to afterwards.
        share: of the largest window of that shape, in each side.

    Returns:
        (batch, 4), int32: top, left, height, width.
    """
    height, width = tf.cast(heights, tf.float32), tf.cast(widths, tf.float32)
    rows, columns = _sides(size)
    scale = share * tf.minimum(height / rows, width / columns)
    high, wide = _side(scale * rows, height), _side(scale * columns, width)
    top, left = tf.floor((height - high) / 2.0), tf.floor((width - wide) / 2.0)
    return tf.cast(tf.stack([top, left, high, wide], axis=1), tf.int32)


def crop_resize(images: tf.Tensor, windows: tf.Tensor, size: Size) -> tf.Tensor:
    """Cuts windows out and scales them: bilinear between pixel centres, without smoothing, nothing from outside.

    One image after the other, because each window has its own size. That is what a reader of JPEG files does, too, and
    it takes a third of the time of a gather over the batch at 224 pixels.

    Args:
        images: (batch, height, width, channels); uint8 comes back rounded.
        windows: (batch, 4), int32: top, left, height, width.
        size: of the result.
    """
    sides = _sides(size)

    def one(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, window = pair
        top, left, height, width = tf.unstack(window)
        scaled = tf.image.resize(image[top : top + height, left : left + width], sides)
        return tf.cast(tf.round(scaled), tf.uint8) if images.dtype == tf.uint8 else scaled

    return tf.map_fn(one, (images, windows), fn_output_signature=tf.TensorSpec([*sides, images.shape[3]], images.dtype))


def _side(length: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """A window's side in whole pixels, 1 … limit; float32."""
    return tf.clip_by_value(tf.round(length), 1.0, limit)


def _sides(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
