"""What augmentations share: draws as whole numbers, a function for each image, and one image over part of another.

Images are (batch, height, width, channels). Bits do not depend on the place in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import tensorflow as tf


def whole(draws: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
    """Draws as int32 in 0 … count - 1."""
    return tf.cast(draws * tf.cast(count, tf.float32), tf.int32)


def grouped(
    choices: tf.Tensor, changes: Sequence[Callable[..., tf.Tensor]], images: tf.Tensor, *others: tf.Tensor
) -> tf.Tensor:
    """Changes each image by the function it chose; each function sees its images at once, and only those.

    Args:
        choices: (batch,), int32, places in `changes`.
        changes: (images, *others) -> images of the same shape; the number of images may be 0.
        images: (batch, height, width, channels).
        others: (batch, …), what the functions take besides.
    """
    if images.shape[0] == 1:  # nothing to part and to join
        alone = tf.switch_case(choices[0], [partial(change, images, *others) for change in changes])
        return tf.ensure_shape(alone, images.shape)
    columns = (tf.range(tf.shape(images)[0]), images, *others)
    places, *groups = (tf.dynamic_partition(column, choices, len(changes)) for column in columns)
    changed = [change(*group) for change, *group in zip(changes, *groups, strict=True)]
    return tf.ensure_shape(tf.dynamic_stitch(places, changed), images.shape)


def within(middle: tf.Tensor, half: tf.Tensor, side: int | tf.Tensor) -> tf.Tensor:
    """Spans of a side's pixels: (batch, side), true from middle - half to before middle + half.

    Args:
        middle: (batch,), int32.
        half: (batch,) or one for all, int32.
        side: pixels.
    """
    distance = tf.range(side)[tf.newaxis] - middle[:, tf.newaxis]
    half = tf.expand_dims(half, -1)
    return (distance >= -half) & (distance < half)


def cover(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Shows `other` where both the row and the column are chosen.

    Args:
        images: (batch, height, width, channels).
        rows: (batch, height), true for the chosen ones.
        columns: (batch, width).
        other: (batch or 1, height or 1, width, channels).
    """
    channels = images.shape[3]
    box = rows[:, :, tf.newaxis] & tf.repeat(columns, channels, axis=1)[:, tf.newaxis]

    # A third of the time: TensorFlow is slow where it repeats a value 3 times.
    def lines(values: tf.Tensor) -> tf.Tensor:
        height, width = height_width(values)
        return tf.reshape(values, [-1, height, width * channels])

    covered = tf.reshape(tf.where(box, lines(other), lines(images)), tf.shape(images))
    return tf.ensure_shape(covered, images.shape)


def height_width(images: tf.Tensor) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """Height and width: numbers where the graph knows them."""
    known, found = images.shape, tf.shape(images)
    return tuple(found[axis] if known[axis] is None else known[axis] for axis in (1, 2))
