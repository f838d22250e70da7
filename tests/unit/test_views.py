"""What a network answers for an image that is looked at in several ways."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hpcdl.config.schema import TrainConfig
from hpcdl.errors import ConfigError
from hpcdl.training.views import Views, probabilities, views_of


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A network whose answers depend on where a pixel is."""
    keras.utils.set_random_seed(0)
    images = keras.Input((6, 5, 2))
    return keras.Model(images, keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(images)))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).random((4, 6, 5, 2), dtype=np.float32)


def moved(images: np.ndarray, down: int, right: int) -> np.ndarray:
    """By indices, mirrored at the edges: pixel -1 is pixel 1."""
    places = [np.abs(np.arange(side) + by) for side, by in zip(images.shape[1:3], (down, right), strict=True)]
    rows, columns = (
        np.where(place >= side, 2 * (side - 1) - place, place)
        for place, side in zip(places, images.shape[1:3], strict=True)
    )
    return images[:, rows][:, :, columns]


def test_once_is_the_models_own_answer(model: keras.Model, images: np.ndarray) -> None:
    np.testing.assert_array_equal(probabilities(model, images), model(images))


def test_a_mirror_image_counts_alike(model: keras.Model, images: np.ndarray) -> None:
    expected = (model(images) + model(images[:, :, ::-1])) / 2
    np.testing.assert_allclose(probabilities(model, images, Views(mirror=True, moved=0)), expected, rtol=1e-6)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("by", [1, 2])
def test_moved_images_count_half(model: keras.Model, images: np.ndarray, by: int, mirror: bool) -> None:
    def answers(pixels: np.ndarray) -> np.ndarray:
        ways = [pixels, pixels[:, :, ::-1]] if mirror else [pixels]
        return np.mean([model(way) for way in ways], axis=0)

    expected = answers(images) / 2 + (answers(moved(images, -by, -by)) + answers(moved(images, by, by))) / 4
    found = probabilities(model, images, Views(mirror, by))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(np.sum(found, axis=1), 1, rtol=1e-6)


def test_a_recipe_tells_the_views_and_moves_no_image_out_of_sight(model: keras.Model) -> None:
    assert views_of(TrainConfig(mirror=True, moved=4), model) == Views(mirror=True, moved=4)
    assert views_of(TrainConfig(), model) == Views(mirror=False, moved=0)
    with pytest.raises(ConfigError, match="5 for images of 6 x 5 pixels"):
        views_of(TrainConfig(moved=5), model)
