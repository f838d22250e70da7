"""What a network answers for an image, looked at once or in several ways."""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from hpcdl.config.schema import TrainConfig
from hpcdl.errors import ConfigError


class Views(NamedTuple):
    """How each image is looked at, as is usual where CIFAR-10 is to be learned fast (Page 2018; Jordan 2024,
    section 3.5)."""

    mirror: bool
    """Also as its mirror image, left to right; both count alike."""
    moved: int
    """Also moved by so many pixels up and to the left, and down and to the right, with the edges mirrored in; the
    two count as much together as the image where it is. 0: not."""


ONCE = Views(mirror=False, moved=0)


def views_of(config: TrainConfig, model: keras.Model) -> Views:
    """The views that a recipe asks for.

    Raises:
        ConfigError: images are to be moved by as many pixels as they have.
    """
    down, across = model.input_shape[1:3] if config.moved else (1, 1)
    if config.moved >= min(down, across):
        raise ConfigError(
            f"train.moved {config.moved} for images of {down} x {across} pixels",
            "fewer pixels than a side has",
            "train.moved=1",
        )
    return Views(config.mirror, config.moved)


def probabilities(model: keras.Model, images: tf.Tensor, views: Views = ONCE) -> tf.Tensor:
    """The model's answers, (n, classes), the mean over the views.

    Args:
        model: ending in a softmax.
        images: (n, height, width, channels).
        views: each is a forward pass of its own.
    """

    def answers(pixels: tf.Tensor) -> tf.Tensor:
        here = model(pixels, training=False)
        return (here + model(tf.reverse(pixels, axis=[2]), training=False)) / 2 if views.mirror else here

    if not views.moved:
        return answers(images)
    down, across = images.shape[1], images.shape[2]
    edge = [views.moved, views.moved]
    padded = tf.pad(images, [[0, 0], edge, edge, [0, 0]], mode="REFLECT")
    end = 2 * views.moved
    first = padded[:, :down, :across]
    last = padded[:, end : end + down, end : end + across]
    return answers(images) / 2 + (answers(first) + answers(last)) / 4
