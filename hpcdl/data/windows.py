"""Windows of images: random ones for training, central ones for evaluation, and how they are cut out and scaled.

Draws and images are as in `hpcdl.data.augment`.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from hpcdl.data.batchwise import whole

Size = int | tuple[int, int]
"""Height and width, or the side of a square."""
TRIES = 10
"""Windows that are drawn until one fits."""
SMALLEST = 0.08
"""Least share of the area that a random window covers."""
RATIOS = np.exp(np.log(4 / 3) * (np.arange(-255, 256, 2) / 256)).astype(np.float32)
"""256 ratios of width to height, in even steps of the logarithm from 3/4 to 4/3; at 1,000 pixels the steps are 1."""
CENTER = 0.875
"""Share of the short side in an evaluation window: 224 of 256."""


def crop_windows(heights: tf.Tensor, widths: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Random windows for random-resized-crop: 8 to 100 % of the area, 3:4 to 4:3 (Szegedy et al. 2015, section 6).

    As torchvision's RandomResizedCrop: an area share, uniform in [0.08, 1], and a ratio of the sides, log-uniform in
    [3/4, 4/3], are drawn again until the window fits, 10 times; if none fits, it is the largest central window of an
    allowed ratio. The place is uniform among all.

    Args:
        heights: (batch,), int32, of the images.
        widths: (batch,), int32.
        draws: (batch, 2 * TRIES + 2): each try's share, each try's ratio, the place.

    Returns:
        (batch, 4), int32: top, left, height, width.
    """
    sides = tf.cast(tf.stack([heights, widths], axis=1), tf.float32)
    shares, ratios, place = tf.split(draws, [TRIES, TRIES, 2], axis=1)
    # Square roots and products have the same bits wherever in a batch they are formed; exponentials do not.
    lengths = tf.sqrt(tf.reduce_prod(sides, axis=1, keepdims=True) * (SMALLEST + (1 - SMALLEST) * shares))
    roots = tf.gather(tf.constant(np.sqrt(RATIOS)), whole(ratios, len(RATIOS)))
    tried = tf.stack([lengths / roots, lengths * roots], axis=2)
    central = tf.minimum(sides, sides[:, ::-1] * (4 / 3))
    tried = tf.round(tf.concat([tried, central[:, tf.newaxis]], axis=1))
    fits = tf.reduce_all((tried >= 1) & (tried <= sides[:, tf.newaxis]), axis=2)
    first = tf.argmax(tf.cast(fits, tf.int32), axis=1, output_type=tf.int32)
    window = tf.gather(tried, first, batch_dims=1)
    free = sides - window
    start = tf.where((first < TRIES)[:, tf.newaxis], place * (free + 1), free / 2)
    return tf.cast(tf.concat([tf.floor(start), window], axis=1), tf.int32)


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
