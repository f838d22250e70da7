"""The loss that recipes train: cross-entropy, summed over images."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def cross_entropy(smoothing: float = 0.0) -> Loss:
    """Makes the loss: of labels (integers, [images]) and probabilities ([images, classes], from a softmax).

    With smoothing e and K classes the target is 1 - e + e / K for the label and e / K for each other
    class (Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7).
    Keras's losses make it, which take the softmax's input where they find it: log 0 does not occur.

    Args:
        smoothing: e, in [0, 1).

    Returns:
        The loss, whose value is the sum over images, a float32 scalar in nats.
    """
    if not smoothing:
        plain: Loss = keras.losses.SparseCategoricalCrossentropy(reduction="sum", dtype="float32")
        return plain
    smoothed = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing, reduction="sum", dtype="float32")

    def summed(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        return smoothed(tf.one_hot(labels, probabilities.shape[-1]), probabilities)

    return summed
