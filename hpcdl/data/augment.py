"""Augmentation in the graph. What is random comes in as numbers, so the result depends on the sample alone.

Images are (batch, height, width, channels), uint8 or float32, with values in [0, 255] and 1 or 3 channels. What comes
back has the same type. `draws` are (batch, DRAWS[name]), float32, uniform in [0, 1): those of a sample decide what
happens to it. The largest float32 below 1 times a whole number n is below n after rounding, too, so floor(draw * n)
is one of n equally likely numbers. As in `hpcdl.data.color`, bits do not depend on the place in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from hpcdl.data import color

Size = int | tuple[int, int]
"""Height and width, or the side of a square."""
DRAWS = {
    "random-resized-crop": 4,
    "pad-crop": 2,
    "flip": 1,
    "randaugment": 2,
    "color-jitter": 3,
    "cutout": 2,
    "mixup": 1,
    "cutmix": 3,
}
"""How many draws each augmentation takes, in the order in which they are applied: geometry, colour, cutout, mixing."""

PADDING = 4
"""Pixels on each side in pad_crop."""
SMALLEST = 0.08
"""Least share of the area that a random window covers."""
RATIOS = np.exp(np.log(4 / 3) * (np.arange(-255, 256, 2) / 256)).astype(np.float32)
"""256 ratios of width to height, in even steps of the logarithm from 3/4 to 4/3; at 1,000 pixels the steps are 1."""
CENTER = 0.875
"""Share of the short side in an evaluation window: 224 of 256."""
CUTOUT = 0.5
"""Side of cutout's square as a share of the image's shorter side: 16 of 32 pixels."""
LAYERS = 2
"""Operations an image in randaugment: N of the paper."""
MAGNITUDE = 0.3
"""Strength of randaugment's operations as a share of the strongest: level 9 of 30, torchvision's default."""
BEYOND = 128.0
"""What randaugment's shifts, shears and turns bring in from beyond the image: mid grey, as the authors' code."""


def split(names: Sequence[str], draws: tf.Tensor) -> dict[str, tf.Tensor]:
    """Each augmentation's own columns of the draws.

    Args:
        names: keys of DRAWS, in any order; the columns follow the order of DRAWS.
        draws: (batch, the sum of DRAWS over the names).
    """
    wanted = [name for name in DRAWS if name in names]
    return dict(zip(wanted, tf.split(draws, [DRAWS[name] for name in wanted], axis=1), strict=True)) if wanted else {}


def apply(names: Sequence[str], images: tf.Tensor, draws: tf.Tensor, fill: float | Sequence[float] = 0.0) -> tf.Tensor:
    """Applies what keeps an image's size and mixes no pairs, in one order: pad-crop, flip, randaugment, color-jitter,
    cutout.

    A random-resized-crop is the reader's work, before this (`crop_windows`), and mixup and cutmix come after it
    (`hpcdl.data.mixing`). Both take their columns from `split`.

    Args:
        names: all augmentations of the recipe, in any order.
        images: (batch, height, width, channels).
        draws: (batch, the sum of DRAWS over the names).
        fill: what cutout leaves, a value for all channels or one for each.
    """
    own = split(names, draws)
    changes: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
        "pad-crop": pad_crop,
        "flip": flip,
        "randaugment": randaugment,
        "color-jitter": color.color_jitter,
        "cutout": partial(cutout, fill=fill),
    }
    for name, change in changes.items():
        if name in own:
            images = change(images, own[name])
    return images


def pad_crop(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Pads each side by 4 zeros and cuts the original size out again (He et al. 2015, section 4.2).

    Args:
        images: (batch, height, width, channels), at least 4 pixels a side.
        draws: (batch, 2), the first row and the first column of the cut: 0 … 8 of the padded image.
    """
    offsets = whole(draws, 2 * PADDING + 1)
    for axis in (1, 2):
        images = _grouped(
            offsets[:, axis - 1], [partial(_shift, axis, at - PADDING) for at in range(2 * PADDING + 1)], images
        )
    return images


def flip(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Mirrors the images (batch, height, width, channels) whose draw (batch, 1) is below 0.5, left to right."""
    return _grouped(whole(draws[:, 0], 2), [lambda part: tf.reverse(part, axis=[2]), tf.identity], images)


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


def cutout(images: tf.Tensor, draws: tf.Tensor, fill: float | Sequence[float] = 0.0) -> tf.Tensor:
    """Covers a square of half the side, part of which may lie outside (DeVries and Taylor 2017, section 3.2).

    Args:
        images: (batch, height, width, channels).
        draws: (batch, 2), row and column of the square's middle, uniform over the image.
        fill: in [0, 255], for all channels or one for each. The paper's zeros after normalisation are the set's mean.
    """
    height, width = _size(images)
    half = tf.cast(tf.cast(tf.minimum(height, width), tf.float32) * CUTOUT, tf.int32) // 2
    rows = within(whole(draws[:, 0], height), half, height)
    columns = within(whole(draws[:, 1], width), half, width)
    value = tf.cast(tf.round(tf.constant(fill, tf.float32)), images.dtype)
    return cover(images, rows, columns, tf.broadcast_to(value, [1, 1, width, images.shape[3]]))


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
        images = _grouped(cells[:, layer] // 2, list(OPERATIONS.values()), images, sign)
    return images


def whole(draws: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
    """Draws as int32 in 0 … count - 1."""
    return tf.cast(draws * tf.cast(count, tf.float32), tf.int32)


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
        height, width = _size(values)
        return tf.reshape(values, [-1, height, width * channels])

    covered = tf.reshape(tf.where(box, lines(other), lines(images)), tf.shape(images))
    return tf.ensure_shape(covered, images.shape)


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
    return _affine(images, sign, (0.0, 0.0, _distance(_size(images)[1]), 0.0, 0.0, 0.0))


def _translate_y(images: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    return _affine(images, sign, (0.0, 0.0, 0.0, 0.0, 0.0, _distance(_size(images)[0])))


def _rotate(images: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    angle = math.radians(30 * MAGNITUDE)
    down, right = (tf.cast(side, tf.float32) / 2.0 for side in _size(images))
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
        output_shape=_size(images),
        fill_value=BEYOND,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )


def _grouped(
    choices: tf.Tensor, changes: Sequence[Callable[..., tf.Tensor]], images: tf.Tensor, *others: tf.Tensor
) -> tf.Tensor:
    """Changes each image by the function it chose; each function sees its images at once, and only those.

    Args:
        choices: (batch,), int32, places in `changes`.
        changes: (images, *others) -> images of the same shape; the number of images may be 0.
        images: (batch, height, width, channels).
        others: (batch, …), what the functions take besides.
    """
    columns = (tf.range(tf.shape(images)[0]), images, *others)
    places, *groups = (tf.dynamic_partition(column, choices, len(changes)) for column in columns)
    changed = [change(*group) for change, *group in zip(changes, *groups, strict=True)]
    return tf.ensure_shape(tf.dynamic_stitch(places, changed), images.shape)


def _shift(axis: int, by: int, images: tf.Tensor) -> tf.Tensor:
    """Moves rows (axis 1) or columns (axis 2) towards the start, or away where `by` is negative; zeros follow."""
    kept = slice(by, None) if by >= 0 else slice(None, by)
    padding = [[0, 0], [0, 0], [0, 0], [0, 0]]
    padding[axis] = [max(-by, 0), max(by, 0)]
    return tf.pad(images[:, kept] if axis == 1 else images[:, :, kept], padding)


def _side(length: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """A window's side in whole pixels, 1 … limit; float32."""
    return tf.clip_by_value(tf.round(length), 1.0, limit)


def _sides(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _size(images: tf.Tensor) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """Height and width: numbers where the graph knows them."""
    known, found = images.shape, tf.shape(images)
    return tuple(found[axis] if known[axis] is None else known[axis] for axis in (1, 2))
