"""The loss that recipes train: cross-entropy, summed over images."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def cross_entropy(smoothing: float = 0.0) -> Loss:
    """Makes the loss of labels and probabilities ([images, classes], from a softmax).

    Labels are integers ([images]), or what the classes should have ([images, classes]), as mixup and cutmix
    make them. With smoothing e and K classes the target is (1 - e) x label + e / K for each class (Szegedy et
    al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7). Keras's losses make it,
    which take the softmax's input where they find it: log 0 does not occur.

    Args:
        smoothing: e, in [0, 1).

    Returns:
        The loss, whose value is the sum over images, a float32 scalar in nats.
    """
    sparse = keras.losses.SparseCategoricalCrossentropy(reduction="sum", dtype="float32")
    dense = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing, reduction="sum", dtype="float32")

    def summed(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        if len(labels.shape) == 2:
            return dense(labels, probabilities)
        if smoothing:
            return dense(tf.one_hot(labels, probabilities.shape[-1]), probabilities)
        return sparse(labels, probabilities)

    return summed
