"""Augmentation in the graph. What is random comes in as numbers, so the result depends on the sample alone.

Images are (batch, height, width, channels), uint8 or float32, with values in [0, 255] and 1 or 3 channels. What comes
back has the same type. `draws` are (batch, DRAWS[name]), float32, uniform in [0, 1): those of a sample decide what
happens to it. The largest float32 below 1 times a whole number n is below n after rounding, too, so floor(draw * n)
is one of n equally likely numbers. As in `hpcdl.data.color`, bits do not depend on the place in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import tensorflow as tf

from hpcdl.data.batchwise import cover, grouped, height_width, whole, within
from hpcdl.data.color import color_jitter
from hpcdl.data.randaugment import randaugment
from hpcdl.data.windows import TRIES

DRAWS = {
    "random-resized-crop": 2 * TRIES + 2,
    "pad-crop": 2,
    "flip": 1,
    "alternate-flip": 1,
    "randaugment": 2,
    "color-jitter": 3,
    "cutout": 2,
    "mixup": 1,
    "cutmix": 3,
}
"""How many draws each augmentation takes, in the order in which they are applied: geometry, colour, cutout, mixing."""
CUTOUT = 0.5
"""Side of cutout's square as a share of the image's shorter side: 16 of 32 pixels."""


def split(names: Sequence[str], draws: tf.Tensor) -> dict[str, tf.Tensor]:
    """Each augmentation's own columns of the draws.

    Args:
        names: keys of DRAWS, in any order; the columns follow the order of DRAWS.
        draws: (batch, the sum of DRAWS over the names).
    """
    wanted = [name for name in DRAWS if name in names]
    return dict(zip(wanted, tf.split(draws, [DRAWS[name] for name in wanted], axis=1), strict=True)) if wanted else {}


def apply(
    names: Sequence[str],
    images: tf.Tensor,
    draws: tf.Tensor,
    fill: float | Sequence[float] = 0.0,
    padding: int = 4,
    padding_mode: str = "zeros",
) -> tf.Tensor:
    """Applies what keeps an image's size and mixes no pairs, in one order: pad-crop, flip (alternate-flip is one, whose
    draws alternate), randaugment, color-jitter, cutout.

    A random-resized-crop is the reader's work, before this (`hpcdl.data.windows`), and mixup and cutmix come after it
    (`hpcdl.data.mixing`). Both take their columns from `split`.

    Args:
        names: all augmentations of the recipe, in any order.
        images: (batch, height, width, channels).
        draws: (batch, the sum of DRAWS over the names).
        fill: what cutout leaves, a value for all channels or one for each.
        padding: pixels on each side, for pad-crop.
        padding_mode: what they hold, zeros or reflect.
    """
    own = split(names, draws)
    changes: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
        "pad-crop": partial(pad_crop, padding=padding, mode=padding_mode),
        "flip": flip,
        "alternate-flip": flip,
        "randaugment": randaugment,
        "color-jitter": color_jitter,
        "cutout": partial(cutout, fill=fill),
    }
    for name, change in changes.items():
        if name in own:
            images = change(images, own[name])
    return images


def pad_crop(images: tf.Tensor, draws: tf.Tensor, padding: int = 4, mode: str = "zeros") -> tf.Tensor:
    """Pads each side, by 4 zeros in He et al. 2015, section 4.2, and cuts the original size out again.

    Args:
        images: (batch, height, width, channels), at least `padding` pixels a side.
        draws: (batch, 2), the first row and the first column of the cut: 0 … 2 padding of the padded image.
        padding: pixels on each side; with reflect, fewer than a side has.
        mode: zeros, or reflect: the image's own pixels, mirrored at its first and last.
    """
    offsets, filled = whole(draws, 2 * padding + 1), {"zeros": "CONSTANT", "reflect": "REFLECT"}[mode]
    for axis in (1, 2):
        moves = [partial(_shift, axis, at - padding, filled) for at in range(2 * padding + 1)]
        images = grouped(offsets[:, axis - 1], moves, images)
    return images


def flip(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Mirrors the images (batch, height, width, channels) whose draw (batch, 1) is below 0.5, left to right."""
    return grouped(whole(draws[:, 0], 2), [_mirror, tf.identity], images)


def cutout(images: tf.Tensor, draws: tf.Tensor, fill: float | Sequence[float] = 0.0) -> tf.Tensor:
    """Covers a square of half the side, part of which may lie outside (DeVries and Taylor 2017, section 3.2).

    Args:
        images: (batch, height, width, channels).
        draws: (batch, 2), row and column of the square's middle, uniform over the image.
        fill: in [0, 255], for all channels or one for each. The paper's zeros after normalisation are the set's mean.
    """
    height, width = height_width(images)
    half = tf.cast(tf.cast(tf.minimum(height, width), tf.float32) * CUTOUT, tf.int32) // 2
    rows = within(whole(draws[:, 0], height), half, height)
    columns = within(whole(draws[:, 1], width), half, width)
    value = tf.cast(tf.round(tf.constant(fill, tf.float32)), images.dtype)
    return cover(images, rows, columns, tf.broadcast_to(value, [1, 1, width, images.shape[3]]))


def _mirror(images: tf.Tensor) -> tf.Tensor:
    """Left to right. As rows of one tall image, which TensorFlow mirrors by a kernel made for that."""
    _, width = height_width(images)
    return tf.reshape(tf.reverse(tf.reshape(images, [-1, width, images.shape[3]]), axis=[1]), tf.shape(images))


def _shift(axis: int, by: int, mode: str, images: tf.Tensor) -> tf.Tensor:
    """Moves rows (axis 1) or columns (axis 2) towards the start, or away where `by` is negative; padding follows."""
    edges = [[0, 0], [0, 0], [0, 0], [0, 0]]
    edges[axis] = [max(-by, 0), max(by, 0)]
    kept = slice(by, None) if by >= 0 else slice(None, by)
    padded = tf.pad(images, edges, mode)
    return padded[:, kept] if axis == 1 else padded[:, :, kept]
