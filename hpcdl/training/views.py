"""What a network answers for an image, looked at once or also in a mirror."""

from __future__ import annotations

import keras
import tensorflow as tf


def probabilities(model: keras.Model, images: tf.Tensor, *, mirror: bool) -> tf.Tensor:
    """The model's answers, (n, classes).

    Args:
        model: ending in a softmax.
        images: (n, height, width, channels).
        mirror: average the answers for each image and for its mirror image, left to right, as is usual
            where CIFAR-10 is to be learned fast (Page 2018; Jordan 2024, section 3.5).
    """
    answers = model(images, training=False)
    return (answers + model(tf.reverse(images, axis=[2]), training=False)) / 2 if mirror else answers
