"""The fixed filters of the speedrun's first layer."""

from __future__ import annotations

import os
from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
import pytest

from hpcdl.config.schema import DataConfig
from hpcdl.data.images import Images
from hpcdl.data.sources.registry import load, locate
from hpcdl.models.speedrun import COARSE, FINE, patch_filters, speedrun, speedrun_90


def test_filters_are_orthonormal_patches() -> None:
    filters = patch_filters(3, COARSE)
    assert filters.shape == (4, 4, 3, 16)
    flat = filters.reshape(48, 16)
    np.testing.assert_allclose(flat.T @ flat, np.eye(16), atol=1e-6)
    assert np.ptp(filters[..., 0]) == pytest.approx(0, abs=1e-7)  # the mean brightness


def test_colours_are_looked_at_more_coarsely_than_brightness() -> None:
    """A grey patch is seen by the brightness filters alone."""
    grey = np.repeat(np.random.default_rng(0).random((4, 4, 1)), 3, axis=2)
    seen = np.abs(np.einsum("hwc,hwcf->f", grey, patch_filters(3, COARSE))) > 1e-6
    assert seen.tolist() == [True] * 10 + [False] * 6


@pytest.mark.needs("real")
def test_filters_whiten_photographs_nearly() -> None:
    """Their answers to real patches are far less correlated than the pixels."""
    images = load(DataConfig(source="cifar10"), locate("cifar10", [], [("HPCDL_DATA", os.environ["HPCDL_DATA"])])).train
    assert isinstance(images, Images)
    patches = images.pixels[:500, 8:12, 8:12].reshape(500, -1) / 255
    answers = patches @ patch_filters(3, COARSE).reshape(48, 16)

    def correlation(values: npt.NDArray[np.float64]) -> float:
        return float(np.abs(np.corrcoef(values.T) - np.eye(values.shape[1])).mean())

    assert correlation(answers) < 0.3 * correlation(patches)


def test_small_patches_are_seen_whole() -> None:
    """12 orthonormal filters of 2 x 2 x 3 pixels lose nothing."""
    flat = patch_filters(3, FINE).reshape(12, 12)
    np.testing.assert_allclose(flat @ flat.T, np.eye(12), atol=1e-6)


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 3), (64, 48, 4)])
@pytest.mark.parametrize(("build", "side"), [(speedrun, 4), (speedrun_90, 2)])
def test_other_images_fit(build: Callable[..., keras.Model], side: int, shape: tuple[int, int, int]) -> None:
    model = build(shape, 7)
    assert model.output_shape == (None, 7)
    fixed = model.layers[1]
    assert not fixed.trainable
    assert fixed.get_weights()[0].shape[:3] == (side, side, shape[2])


def test_convolutions_start_as_the_identity() -> None:
    """As far as they have channels for it; one of as many filters as channels changes nothing."""
    convolutions = [each for each in speedrun_90((32, 32, 3), 10).layers if isinstance(each, keras.layers.Conv2D)]
    images = np.random.default_rng(0).random((2, 8, 8, 48), dtype=np.float32)
    np.testing.assert_allclose(convolutions[2](images), images, atol=1e-6)
    np.testing.assert_allclose(convolutions[3](images)[..., :48], images, atol=1e-6)
    assert np.abs(convolutions[3](images)[..., 48:]).max() > 0.1


def test_offsets_learn_and_scales_do_not() -> None:
    model = speedrun_90((32, 32, 3), 10)
    normalizations = [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization) and each.scale]
    assert len(normalizations) == 6
    for each in normalizations:
        assert each.trainable_variables == [each.beta]
        np.testing.assert_array_equal(each.gamma, np.full(each.gamma.shape, 1 / 8, np.float32))
