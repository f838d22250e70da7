"""Augmentation in the graph. What is random comes in as arguments, so the result depends on the sample alone."""

from __future__ import annotations

import tensorflow as tf

PADDING = 4


def pad_crop(images: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Pads each side by 4 zeros and cuts the original size out again (He et al. 2015, section 4.2).

    Args:
        images: (batch, height, width, channels).
        offsets: (batch, 2), the first row and column of the cut, 0 … 8.
    """
    height, width = images.shape[1], images.shape[2]
    padded = tf.pad(images, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    rows = offsets[:, :1] + tf.range(height)[tf.newaxis]
    columns = offsets[:, 1:] + tf.range(width)[tf.newaxis]
    return tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def flip(images: tf.Tensor, flips: tf.Tensor) -> tf.Tensor:
    """Mirrors the images (batch, height, width, channels) for which flips (batch,) is true."""
    return tf.where(flips[:, tf.newaxis, tf.newaxis, tf.newaxis], tf.reverse(images, axis=[2]), images)
