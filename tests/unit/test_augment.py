"""Augmentation against NumPy, Pillow and torchvision's formulas; what an image becomes depends on its draws alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from hpcdl.data import augment
from hpcdl.data.augment import DRAWS
from hpcdl.data.color import color_jitter
from hpcdl.data.randaugment import OPERATIONS, randaugment
from hpcdl.data.windows import center_window, crop_resize, crop_windows

Pixels = npt.NDArray[np.uint8]
BATCHWISE = ["pad-crop", "flip", "randaugment", "color-jitter", "cutout"]
ALMOST_ONE = np.nextafter(np.float32(1), np.float32(0))


def pictures(count: int, height: int = 32, width: int = 32, channels: int = 3) -> Pixels:
    """Noise over a ramp, of another range in each image, so that no two pixels are alike by rule."""
    random = np.random.default_rng(count)
    ramp = np.linspace(0, 120, width)[np.newaxis, :, np.newaxis]
    images = ramp + random.integers(0, 90, (count, height, width, channels))
    return (images + random.integers(0, 45, (count, 1, 1, 1))).astype(np.uint8)


def numbers(count: int, columns: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Uniform draws."""
    return np.random.default_rng(seed).random((count, columns), np.float32)


@pytest.mark.parametrize(("mode", "numpy_mode"), [("zeros", "constant"), ("reflect", "reflect")])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_pad_crop_moves_by_up_to_4(kind: str, mode: str, numpy_mode: Literal["constant", "reflect"]) -> None:
    cells = np.array([(row, column) for row in range(9) for column in range(9)])
    images, draws = pictures(81, 10, 14), ((cells + 0.5) / 9).astype(np.float32)
    draws[0], draws[80] = 0.0, ALMOST_ONE
    found = augment.pad_crop(tf.constant(images, kind), tf.constant(draws), mode=mode)
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), mode=numpy_mode)
    expected = [image[y : y + 10, x : x + 14] for image, (y, x) in zip(padded, cells, strict=True)]
    assert found.dtype == kind
    np.testing.assert_array_equal(found, np.stack(expected))


def test_flip_mirrors_the_lower_half_of_the_draws() -> None:
    images = pictures(4, 5, 6)
    draws = np.array([[0.0], [0.4999999], [0.5], [ALMOST_ONE]], np.float32)
    found = augment.flip(tf.constant(images), tf.constant(draws))
    np.testing.assert_array_equal(found, np.stack([images[0, :, ::-1], images[1, :, ::-1], images[2], images[3]]))


def torchvision_window(height: int, width: int, random: np.random.Generator, tries: int) -> tuple[int, int, int, int]:
    """RandomResizedCrop.get_params, with its scale and ratio."""
    for _ in range(tries):
        area = height * width * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            top, left = random.integers(0, height - high + 1), random.integers(0, width - wide + 1)
            return int(top), int(left), high, wide
    whole = width / height
    wide, high = width, height
    if whole < 3 / 4:
        high = round(width / (3 / 4))
    elif whole > 4 / 3:
        wide = round(height * (4 / 3))
    return (height - high) // 2, (width - wide) // 2, high, wide


@pytest.mark.parametrize("height, width", [(32, 32), (375, 500), (500, 375), (300, 800), (900, 120)])
def test_windows_have_torchvisions_distribution(height: int, width: int) -> None:
    """Quantiles of share, ratio and place against 20,000 windows of torchvision's loop."""
    count = 20_000
    random = np.random.default_rng(7)
    known = np.array([torchvision_window(height, width, random, 10) for _ in range(count)], float)
    sizes = tf.fill([count], height), tf.fill([count], width)
    found = crop_windows(*sizes, tf.constant(numbers(count, 22))).numpy()
    assert found.dtype == np.int32
    found = found.astype(float)
    assert found.min(axis=0)[:2].min() >= 0 and found.min(axis=0)[2:].min() >= 1
    assert (found[:, 0] + found[:, 2]).max() <= height and (found[:, 1] + found[:, 3]).max() <= width

    def measures(windows: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
        top, left, high, wide = windows.T
        free = [(top + 0.5) / (height - high + 1), (left + 0.5) / (width - wide + 1)]
        return [high * wide / (height * width), np.log(wide / high), *free]

    for own, theirs in zip(measures(found), measures(known), strict=True):
        both = np.sort(np.concatenate([own, theirs]))
        below = [np.searchsorted(np.sort(values), both, side="right") / count for values in (own, theirs)]
        # Kolmogorov and Smirnov: 1.95 x sqrt(2 / n) is passed by chance once in 1,000 times.
        assert np.abs(below[0] - below[1]).max() < 1.95 * math.sqrt(2 / count)


@pytest.mark.parametrize("height, width", [(1000, 20), (20, 1000), (1, 40), (40, 1)])
def test_windows_of_very_long_images_are_central(height: int, width: int) -> None:
    expected = torchvision_window(height, width, np.random.default_rng(0), 0)
    found = crop_windows(tf.fill([9], height), tf.fill([9], width), tf.constant(numbers(9, 22)))
    np.testing.assert_array_equal(found, [expected] * 9)


def test_windows_of_extreme_draws_lie_inside() -> None:
    corners = np.array(np.meshgrid(*[[0, ALMOST_ONE]] * 4), np.float32).reshape(4, -1).T.repeat([10, 10, 1, 1], axis=1)
    for height, width in ((1, 1), (2, 3), (32, 32), (4999, 7001)):
        sizes = tf.fill([len(corners)], height), tf.fill([len(corners)], width)
        top, left, high, wide = crop_windows(*sizes, tf.constant(corners)).numpy().T
        assert top.min() >= 0 and left.min() >= 0 and high.min() >= 1 and wide.min() >= 1
        assert (top + high).max() <= height and (left + wide).max() <= width


@pytest.mark.parametrize(
    "height, width, size, expected",
    [
        (256, 256, 224, (16, 16, 224, 224)),
        (375, 500, 224, (23, 86, 328, 328)),
        (500, 375, 224, (86, 23, 328, 328)),
        (1024, 512, (128, 64), (64, 32, 896, 448)),
        (600, 512, (128, 64), (37, 125, 525, 262)),
        (1, 1, 32, (0, 0, 1, 1)),
    ],
)
def test_central_windows(height: int, width: int, size: int | tuple[int, int], expected: tuple[int, ...]) -> None:
    """7/8 of the largest window of that shape, in the middle."""
    found = center_window(tf.constant([height]), tf.constant([width]), size)
    assert found.dtype == tf.int32 and tuple(found[0].numpy()) == expected


def bilinear(image: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """torchvision's resize without antialiasing: pixel i reads (i + 0.5) x scale - 0.5, held at the border."""
    for axis, length in enumerate(size):
        at = np.clip((np.arange(length) + 0.5) * image.shape[axis] / length - 0.5, 0, image.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        share = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = (1 - share) * image.take(low, axis) + share * image.take(high, axis)
    return image


WINDOWS = [(0, 0, 20, 24), (3, 5, 7, 4), (13, 0, 7, 24), (0, 23, 20, 1), (19, 23, 1, 1), (4, 4, 9, 11)]


@pytest.mark.parametrize("size", [(9, 11), (32, 32), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_windows_are_scaled_bilinearly(size: tuple[int, int], channels: int) -> None:
    images, windows = pictures(len(WINDOWS), 20, 24, channels), tf.constant(WINDOWS)
    cuts = [image[t : t + h, x : x + w] for image, (t, x, h, w) in zip(images, WINDOWS, strict=True)]
    expected = np.stack([bilinear(cut.astype(float), size) for cut in cuts])
    np.testing.assert_allclose(crop_resize(tf.constant(images, tf.float32), windows, size), expected, atol=0.01)
    whole = crop_resize(tf.constant(images), windows, size)
    assert whole.dtype == tf.uint8
    np.testing.assert_allclose(whole.numpy().astype(float), expected, atol=0.511)


def test_enlarged_windows_are_pillows() -> None:
    images = pictures(len(WINDOWS), 20, 24)
    cuts = [image[t : t + h, x : x + w] for image, (t, x, h, w) in zip(images, WINDOWS, strict=True)]
    expected = np.stack([np.asarray(Image.fromarray(cut).resize((40, 40), Image.Resampling.BILINEAR)) for cut in cuts])
    found = crop_resize(tf.constant(images), tf.constant(WINDOWS), 40)
    assert np.abs(found.numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("height, width, length", [(32, 32, 16), (28, 40, 14), (40, 28, 14), (9, 9, 4)])
def test_cutout_covers_a_square_around_its_middle(height: int, width: int, length: int, kind: str) -> None:
    images, draws = pictures(50, height, width) // 2 + 1, numbers(50, 2)
    draws[0], draws[1] = 0.0, ALMOST_ONE
    found = augment.cutout(tf.constant(images, kind), tf.constant(draws), [200.4, 0.0, 130.0])
    fill = (200, 0, 130)
    for image, result, (down, right) in zip(images, found.numpy(), draws, strict=True):
        row, column = int(down * height), int(right * width)
        expected = image.copy()
        rows = slice(max(row - length // 2, 0), min(row + length // 2, height))
        columns = slice(max(column - length // 2, 0), min(column + length // 2, width))
        expected[rows, columns] = fill
        np.testing.assert_array_equal(result, expected)
    assert found.dtype == kind
    covered = augment.cutout(tf.constant(images), tf.constant([[0.5, 0.5]] * 50)).numpy() == 0
    assert (covered.sum(axis=(1, 2, 3)) == length**2 * 3).all()


Change = Callable[[Image.Image, int], Image.Image]
"""(image, direction) -> image."""


def pillow_affine(
    coefficients: Callable[[int, int, int], tuple[float, ...]],
) -> Callable[[Image.Image, int], Image.Image]:
    """(sign, height, width) -> a … f as one of Pillow's transforms."""

    def change(image: Image.Image, sign: int) -> Image.Image:
        own = coefficients(sign, image.height, image.width)
        return image.transform(image.size, Image.Transform.AFFINE, own, fillcolor=grey(image))

    return change


def grey(image: Image.Image) -> int | tuple[int, int, int]:
    """Mid grey in the image's mode."""
    return 128 if image.mode == "L" else (128, 128, 128)


PILLOW: dict[str, Change] = {
    "identity": lambda image, sign: image,
    "autocontrast": lambda image, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, sign: ImageOps.equalize(image),
    "posterize": lambda image, sign: ImageOps.posterize(image, 7),
    "solarize": lambda image, sign: ImageOps.solarize(image, 178.5),
    "color": lambda image, sign: ImageEnhance.Color(image).enhance(1 + 0.27 * sign),
    "contrast": lambda image, sign: ImageEnhance.Contrast(image).enhance(1 + 0.27 * sign),
    "brightness": lambda image, sign: ImageEnhance.Brightness(image).enhance(1 + 0.27 * sign),
    "sharpness": lambda image, sign: ImageEnhance.Sharpness(image).enhance(1 + 0.27 * sign),
    "rotate": lambda image, sign: image.rotate(-9 * sign, fillcolor=grey(image)),
    "shear-x": pillow_affine(lambda sign, height, width: (1, 0.09 * sign, 0, 0, 1, 0)),
    "shear-y": pillow_affine(lambda sign, height, width: (1, 0, 0, 0.09 * sign, 1, 0)),
    "translate-x": pillow_affine(lambda sign, height, width: (1, 0, sign * int(0.3 * 150 / 331 * width), 0, 1, 0)),
    "translate-y": pillow_affine(lambda sign, height, width: (1, 0, 0, 0, 1, sign * int(0.3 * 150 / 331 * height))),
}
"""The operations of level 9 of 30, as torchvision and the paper's authors have them."""


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("place, name", list(enumerate(PILLOW)))
def test_each_operation_is_pillows(place: int, name: str, channels: int) -> None:
    """Both directions, one after the other of two layers, of which the second is no operation."""
    images = pictures(6, 33, 40, channels)
    if name in ("solarize", "brightness"):
        images += 30
    signs = [-1, 1, -1, 1, -1, 1]
    draws = np.zeros((6, 2), np.float32)
    draws[:, 0] = [(2 * place + (sign > 0) + 0.5) / 28 for sign in signs]
    found = randaugment(tf.constant(images), tf.constant(draws)).numpy()
    assert found.dtype == np.uint8
    for image, result, sign in zip(images, found, signs, strict=True):
        known = PILLOW[name](Image.fromarray(image[..., 0] if channels == 1 else image), sign)
        apart = np.abs(result.astype(int) - np.asarray(known).reshape(image.shape))
        if name in ("rotate", "shear-x", "shear-y"):
            # Pillow counts in steps of 1 / 65,536 pixel: where two pixels are as near, it may take the other one.
            assert (apart > 0).mean() < 0.01
        else:
            assert apart.max() <= (1 if name == "autocontrast" else 0) or (apart > 0).mean() < 1e-3
    changed = (found != images).any(axis=(1, 2, 3))
    assert not changed.any() if name == "identity" or (name == "color" and channels == 1) else changed.all()


def test_operations_are_drawn_alike_and_layers_follow_each_other() -> None:
    cells = 2 * len(OPERATIONS)
    assert list(OPERATIONS) == list(PILLOW) and cells == 28
    brighter, solarized = (2 * list(PILLOW).index("brightness") + 1.5) / cells, (2 * 4 + 0.5) / cells
    images = pictures(2, 8, 8) // 2 + 100
    draws = tf.constant([[brighter, solarized], [solarized, brighter]], tf.float32)
    found = randaugment(tf.constant(images), draws).numpy()
    for image, result, names in zip(images, found, ("brightness solarize", "solarize brightness"), strict=True):
        known = Image.fromarray(image)
        for name in names.split():
            known = PILLOW[name](known, 1)
        np.testing.assert_array_equal(result, known)
    assert not np.array_equal(found[0], found[1])


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_take_floats(name: str) -> None:
    """As whole values, but for what Pillow cuts off; fractions stay in range."""
    images, sign = pictures(4, 12, 10), tf.constant([-1.0, 1.0, 1.0, -1.0])
    whole = OPERATIONS[name](tf.constant(images), sign).numpy().astype(float)
    floating = OPERATIONS[name](tf.constant(images, tf.float32), sign)
    assert floating.dtype == tf.float32
    np.testing.assert_allclose(floating, whole, atol=1.5)
    fractions = OPERATIONS[name](tf.constant(images * 0.997, tf.float32), sign).numpy()
    assert np.isfinite(fractions).all() and fractions.min() >= 0 and fractions.max() <= 255


def test_draws_are_split_in_one_order() -> None:
    draws = tf.constant(np.arange(30, dtype=np.float32)[np.newaxis])
    assert list(DRAWS) == [
        "random-resized-crop", "pad-crop", "flip", "alternate-flip", "randaugment", "color-jitter", "cutout", "mixup",
        "cutmix",
    ]  # fmt: skip
    own = augment.split(["mixup", "color-jitter", "random-resized-crop", "flip", "randaugment"], draws[:, :29])
    assert {name: columns.numpy()[0].tolist() for name, columns in own.items()} == {
        "random-resized-crop": list(range(22)),
        "flip": [22],
        "randaugment": [23, 24],
        "color-jitter": [25, 26, 27],
        "mixup": [28],
    }
    assert augment.split([], draws[:, :0]) == {}


def test_apply_has_one_order() -> None:
    """However the recipe lists them; crops of the reader and mixing are left to others, their columns are skipped."""
    names = ["cutout", "mixup", "flip", "color-jitter", "random-resized-crop", "randaugment", "pad-crop"]
    images, draws = tf.constant(pictures(40)), tf.constant(numbers(40, 33))
    found = augment.apply(names, images, draws, [100.0, 110.0, 120.0])
    np.testing.assert_array_equal(found, augment.apply(names[::-1], images, draws, [100.0, 110.0, 120.0]))
    expected = augment.flip(augment.pad_crop(images, draws[:, 22:24]), draws[:, 24:25])
    expected = color_jitter(randaugment(expected, draws[:, 25:27]), draws[:, 27:30])
    np.testing.assert_array_equal(found, augment.cutout(expected, draws[:, 30:32], [100.0, 110.0, 120.0]))
    assert not np.array_equal(found, images)
    np.testing.assert_array_equal(augment.apply(["mixup"], images, draws[:, :1]), images)


@pytest.mark.parametrize("kind, channels", [("uint8", 3), ("float32", 3), ("float32", 1)])
def test_an_image_does_not_depend_on_its_batch(kind: str, channels: int) -> None:
    """To the bit, in batches of any size, as ranks deal them out."""
    columns = sum(DRAWS[name] for name in BATCHWISE)
    images, draws = pictures(61, 21, 19, channels).astype(kind), numbers(61, columns)
    images = images if kind == "uint8" else images * np.float32(0.9973)

    @tf.function(input_signature=[tf.TensorSpec([None, 21, 19, channels], kind), tf.TensorSpec([None, columns])])
    def change(some: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
        return augment.apply(BATCHWISE, some, own)

    together = change(images, draws)
    for size in (1, 7, 60):
        parts = [change(images[at : at + size], draws[at : at + size]) for at in range(0, 61, size)]
        np.testing.assert_array_equal(np.concatenate(parts), together)
    assert not np.array_equal(together, images)


def test_a_window_does_not_depend_on_its_batch() -> None:
    random = np.random.default_rng(0)
    sides, draws = random.integers(30, 1500, (2, 999), dtype=np.int32), numbers(999, 22)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)] * 2 + [tf.TensorSpec([None, 22])])
    def windows(heights: tf.Tensor, widths: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
        found = crop_windows(heights, widths, own)
        assert found.shape.as_list() == [None, 4]
        return found

    together = windows(*sides, draws).numpy()
    alone = [windows(*sides[:, at : at + 1], draws[at : at + 1]) for at in range(300)]
    np.testing.assert_array_equal(np.concatenate(alone), together[:300])


def test_it_runs_in_a_pipeline_of_unknown_sizes() -> None:
    """What is known of the shape stays known; height, width and batch need not be, and a batch may be empty."""
    columns = sum(DRAWS[name] for name in BATCHWISE)
    images, draws = pictures(30, 12, 17), numbers(30, columns)
    expected = augment.apply(BATCHWISE, tf.constant(images), tf.constant(draws))

    batches = tf.data.Dataset.from_tensor_slices((images, draws)).batch(8)
    known = batches.map(lambda some, own: augment.apply(BATCHWISE, some, own))
    assert known.element_spec == tf.TensorSpec([None, 12, 17, 3], tf.uint8)
    np.testing.assert_array_equal(np.concatenate(list(known)), expected)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8), tf.TensorSpec([None, None])])
    def unknown(some: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
        return augment.apply(BATCHWISE, some, own)

    np.testing.assert_array_equal(unknown(images, draws), expected)
    assert unknown(images[:0], draws[:0]).shape == (0, 12, 17, 3)


def test_a_crop_in_a_pipeline_keeps_its_shape() -> None:
    images, draws = pictures(10, 20, 24), numbers(10, 22)

    def crop(some: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
        count = tf.shape(some)[0]
        return crop_resize(some, crop_windows(tf.fill([count], 20), tf.fill([count], 24), own), (16, 8))

    batches = tf.data.Dataset.from_tensor_slices((images, draws)).batch(4).map(crop)
    assert batches.element_spec == tf.TensorSpec([None, 16, 8, 3], tf.uint8)
    np.testing.assert_array_equal(np.concatenate(list(batches)), crop(tf.constant(images), tf.constant(draws)))
    assert crop(tf.constant(images[:0]), tf.constant(draws[:0])).shape == (0, 16, 8, 3)
