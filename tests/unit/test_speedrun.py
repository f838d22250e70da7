"""The fixed filters of the speedrun's first layer."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import pytest

from hpcdl.config.schema import DataConfig
from hpcdl.data.images import Images
from hpcdl.data.sources.registry import load, locate
from hpcdl.models.speedrun import patch_filters, speedrun


def test_filters_are_orthonormal_patches() -> None:
    filters = patch_filters(3)
    assert filters.shape == (4, 4, 3, 16)
    flat = filters.reshape(48, 16)
    np.testing.assert_allclose(flat.T @ flat, np.eye(16), atol=1e-6)
    assert np.ptp(filters[..., 0]) == pytest.approx(0, abs=1e-7)  # the mean brightness


def test_colours_are_looked_at_more_coarsely_than_brightness() -> None:
    """A grey patch is seen by the brightness filters alone."""
    grey = np.repeat(np.random.default_rng(0).random((4, 4, 1)), 3, axis=2)
    seen = np.abs(np.einsum("hwc,hwcf->f", grey, patch_filters(3))) > 1e-6
    assert seen.tolist() == [True] * 10 + [False] * 6


@pytest.mark.needs("real")
def test_filters_whiten_photographs_nearly() -> None:
    """Their answers to real patches are far less correlated than the pixels."""
    images = load(DataConfig(source="cifar10"), locate("cifar10", [], [("HPCDL_DATA", os.environ["HPCDL_DATA"])])).train
    assert isinstance(images, Images)
    patches = images.pixels[:500, 8:12, 8:12].reshape(500, -1) / 255
    answers = patches @ patch_filters(3).reshape(48, 16)

    def correlation(values: npt.NDArray[np.float64]) -> float:
        return float(np.abs(np.corrcoef(values.T) - np.eye(values.shape[1])).mean())

    assert correlation(answers) < 0.3 * correlation(patches)


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 3), (64, 48, 4)])
def test_other_images_fit(shape: tuple[int, int, int]) -> None:
    model = speedrun(shape, 7)
    assert model.output_shape == (None, 7)
    fixed = model.layers[1]
    assert not fixed.trainable
    assert fixed.get_weights()[0].shape[:3] == (4, 4, shape[2])
