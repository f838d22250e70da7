"""One stored image, in the graph: the wanted part of it, at the network's size."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Window = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Heights (1,) and widths (1,) -> (1, 4), int32: top, left, height and width of the part that is wanted."""


def decode_file(stored: tf.Tensor, window: Window, size: int) -> tf.Tensor:
    """Decodes an image file (JPEG, PNG, BMP, the first picture of a GIF) whatever its name says.

    Of a JPEG only the lines of the wanted part are decoded, and at half, a quarter or an eighth of its
    resolution where that still is no smaller than `size`.

    Args:
        stored: the file's bytes, a scalar string.
        window: the part that is wanted.
        size: of the result.

    Returns:
        (size, size, 3), float32 in [0, 255]; grey images have three equal channels.
    """

    def jpeg() -> tf.Tensor:
        shape = tf.image.extract_jpeg_shape(stored)
        place = _one(window, shape[0], shape[1])
        spare = tf.minimum(place[2], place[3]) // size
        power = tf.reduce_sum(tf.cast(spare >= [2, 4, 8], tf.int32))
        return tf.switch_case(power, [_scaled(stored, place, 2**halvings) for halvings in range(4)])

    def other() -> tf.Tensor:
        whole = tf.io.decode_image(stored, channels=3, expand_animations=False)
        return _cut(whole, _one(window, tf.shape(whole)[0], tf.shape(whole)[1]))

    image = tf.cond(tf.io.is_jpeg(stored), jpeg, other)
    return _resize(image, size, 3)


def decode_pixels(stored: tf.Tensor, shape: tf.Tensor, window: Window, size: int, channels: int) -> tf.Tensor:
    """The same for pixels that are stored row by row as uint8, of a shape (height, width, channels)."""
    whole = tf.reshape(tf.io.decode_raw(stored, tf.uint8), shape)
    return _resize(_cut(whole, _one(window, shape[0], shape[1])), size, channels)


def _scaled(stored: tf.Tensor, place: tf.Tensor, ratio: int) -> Callable[[], tf.Tensor]:
    # fancy_upscaling=False would be faster, but with a crop it writes beyond its buffers (libjpeg-turbo issue 574).
    return lambda: tf.image.decode_and_crop_jpeg(
        stored, place // ratio, channels=3, ratio=ratio, dct_method="INTEGER_FAST"
    )


def _one(window: Window, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    return window(tf.reshape(height, [1]), tf.reshape(width, [1]))[0]


def _cut(image: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    return image[place[0] : place[0] + place[2], place[1] : place[1] + place[3]]


def _resize(image: tf.Tensor, size: int, channels: int) -> tf.Tensor:
    return tf.ensure_shape(tf.image.resize(image, [size, size]), [size, size, channels])
