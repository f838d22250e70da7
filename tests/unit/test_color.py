"""Changes of colour against Pillow and against formulas in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from hpcdl.data import color

Pixels = npt.NDArray[np.uint8]
FACTORS = np.array([0.0, 0.27, 0.73, 1.0, 1.27, 1.9], np.float32)
ENHANCERS = {
    "brightness": (color.brightness, ImageEnhance.Brightness),
    "contrast": (color.contrast, ImageEnhance.Contrast),
    "saturation": (color.saturation, ImageEnhance.Color),
    "sharpness": (color.sharpness, ImageEnhance.Sharpness),
}


def pictures(channels: int, height: int = 13) -> Pixels:
    """Noise of several ranges, a ramp, and an image of one value; 17 pixels wide."""
    random = np.random.default_rng(3)
    images = random.integers(0, 256, (len(FACTORS), height, 17, channels))
    images[1] = images[1] // 4 + 60
    images[2] = (np.arange(17) * 15)[np.newaxis, :, np.newaxis]
    images[3] = 77
    images[4, ..., 0] = images[4, ..., 0] // 100 * 100
    return images.astype(np.uint8)


def by_pillow(images: Pixels, change: Callable[[Image.Image, int], Image.Image]) -> Pixels:
    """Each image through Pillow."""
    results = []
    for place, image in enumerate(images):
        changed = change(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), place)
        results.append(np.asarray(changed).reshape(image.shape))
    return np.stack(results)


def assert_pillow_agrees(found: tf.Tensor, expected: Pixels) -> None:
    """Equal, but for a level here and there where a compiler fuses a product and a sum in Pillow."""
    assert found.dtype == tf.uint8
    apart = np.abs(found.numpy().astype(int) - expected)
    assert apart.max() <= 1 and (apart > 0).mean() <= 1e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ENHANCERS)
def test_enhancements_are_pillows(name: str, channels: int) -> None:
    change, enhancer = ENHANCERS[name]
    images = pictures(channels)
    expected = by_pillow(images, lambda image, place: enhancer(image).enhance(float(FACTORS[place])))
    assert_pillow_agrees(change(tf.constant(images), tf.constant(FACTORS)), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("height", [13, 101])
def test_equalize_is_pillows(height: int, channels: int) -> None:
    """Few pixels stay as they are: Pillow wants 255 of them besides those of the brightest value."""
    images = pictures(channels, height)
    expected = by_pillow(images, lambda image, place: ImageOps.equalize(image))
    assert height == 13 or (expected != images).any(axis=(1, 2, 3)).tolist() == [True, True, True, False, True, True]
    np.testing.assert_array_equal(color.equalize(tf.constant(images)), expected)
    as_float = color.equalize(tf.constant(images + 0.4, tf.float32))
    np.testing.assert_array_equal(as_float, expected)


def test_equalize_stays_in_range_where_one_value_is_rare() -> None:
    """Below the brightest value lie 509 pixels of 2 x 255 - 1: Pillow's table runs beyond 255 and is clipped."""
    image = np.full((1, 510, 1, 1), 9, np.uint8)
    image[0, -1] = 200
    expected = by_pillow(image, lambda picture, place: ImageOps.equalize(picture))
    np.testing.assert_array_equal(color.equalize(tf.constant(image)), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_autocontrast_is_pillows(channels: int) -> None:
    images = pictures(channels)
    found = color.autocontrast(tf.constant(images)).numpy()
    low, high = images.min(axis=(1, 2), keepdims=True).astype(int), images.max(axis=(1, 2), keepdims=True).astype(int)
    exact = np.where(high > low, (images - low) * 255 // np.maximum(high - low, 1), images)
    np.testing.assert_array_equal(found, exact)
    # Pillow's product in float64 may fall just below a whole number, and is cut off there.
    pillow = by_pillow(images, lambda image, place: ImageOps.autocontrast(image))
    below = found.astype(int) - pillow
    assert set(np.unique(below)) <= {0, 1}
    whole = (images - low) * 255 % np.maximum(high - low, 1) == 0
    assert not below[~whole].any()


@pytest.mark.parametrize("bits", [1, 4, 7, 8])
def test_posterize_is_pillows(bits: int) -> None:
    images = pictures(3)
    expected = by_pillow(images, lambda image, place: ImageOps.posterize(image, bits))
    np.testing.assert_array_equal(color.posterize(tf.constant(images), bits), expected)


@pytest.mark.parametrize("threshold", [0.0, 100.0, 178.5, 256.0])
def test_solarize_is_pillows(threshold: float) -> None:
    images = pictures(3)
    expected = by_pillow(images, lambda image, place: ImageOps.solarize(image, threshold))
    np.testing.assert_array_equal(color.solarize(tf.constant(images), threshold), expected)


def test_grey_values_are_pillows() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    np.testing.assert_array_equal(color.gray(tf.constant(images))[..., 0], expected)
    floating = color.gray(tf.constant(images, tf.float32))[..., 0]
    np.testing.assert_allclose(floating, images @ [0.299, 0.587, 0.114], atol=2e-3)


def test_jitter_of_whole_values_is_three_of_pillows_changes() -> None:
    images = pictures(3)
    draws = np.random.default_rng(1).random((len(images), 3), np.float32)
    factors = 0.6 + 0.8 * draws

    def jitter(image: Image.Image, place: int) -> Image.Image:
        enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for enhancer, factor in zip(enhancers, factors[place], strict=True):
            image = enhancer(image).enhance(float(factor))
        return image

    found = color.color_jitter(tf.constant(images), tf.constant(draws))
    assert_pillow_agrees(found, by_pillow(images, jitter))


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_of_floats_keeps_fractions(channels: int) -> None:
    images = pictures(channels) * np.float32(0.99)
    draws = np.random.default_rng(2).random((len(images), 3), np.float32)
    found = color.color_jitter(tf.constant(images), tf.constant(draws))

    shares = np.array([0.299, 0.587, 0.114]) if channels == 3 else np.ones(1)
    expected = []
    for image, (bright, contrasting, colourful) in zip(images.astype(np.float64), 0.6 + 0.8 * draws, strict=True):
        image = np.clip(image * bright, 0, 255)
        mean = (image @ shares).mean()
        image = np.clip(mean + contrasting * (image - mean), 0, 255)
        grey = (image @ shares)[..., np.newaxis]
        expected.append(np.clip(grey + colourful * (image - grey), 0, 255))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, np.stack(expected), atol=0.01)


def test_a_factor_of_one_and_a_grey_image_change_nothing() -> None:
    images = tf.constant(pictures(3))
    for change, _ in ENHANCERS.values():
        np.testing.assert_array_equal(change(images, tf.ones(len(FACTORS))), images)
    grey = tf.constant(pictures(1))
    np.testing.assert_array_equal(color.saturation(grey, tf.constant(FACTORS)), grey)


@pytest.mark.parametrize("side", [2, 3])
def test_sharpness_of_images_with_one_inner_pixel_or_none(side: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.uint8)
    expected = by_pillow(images, lambda image, place: ImageEnhance.Sharpness(image).enhance(0.5))
    np.testing.assert_array_equal(color.sharpness(tf.constant(images), tf.constant([0.5, 0.5])), expected)
