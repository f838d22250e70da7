"""Cross-entropy against its formula in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpcdl.training.loss import cross_entropy

LABELS = np.array([2, 0, 1, 2], dtype="int32")
LOGITS = np.array([[0.1, -1.2, 0.7], [2.0, 0.3, -0.5], [0.0, 0.0, 0.0], [1.5, -2.0, -1.0]])
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)


def formula(smoothing: float) -> float:
    """Each image's label gets 1 - e of the target, and all classes share e."""
    total = 0.0
    for label, row in zip(LABELS, PROBABILITIES, strict=True):
        total -= (1 - smoothing) * np.log(row[label]) + smoothing * np.log(row).mean()
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_the_loss_is_summed_over_images(smoothing: float) -> None:
    loss = cross_entropy(smoothing)(tf.constant(LABELS), tf.constant(PROBABILITIES, tf.float32))
    assert loss.dtype == tf.float32 and loss.shape == ()
    assert float(loss) == pytest.approx(formula(smoothing), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_may_be_shares_of_classes(smoothing: float) -> None:
    shares = np.array([[0.7, 0.0, 0.3], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.2, 0.2, 0.6]])
    target = (1 - smoothing) * shares + smoothing / 3
    loss = cross_entropy(smoothing)(tf.constant(shares, tf.float32), tf.constant(PROBABILITIES, tf.float32))
    assert float(loss) == pytest.approx(-(target * np.log(PROBABILITIES)).sum(), rel=1e-6)


def test_without_smoothing_it_is_keras_own() -> None:
    own = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
    probabilities = tf.constant(PROBABILITIES, tf.float32)
    assert float(cross_entropy(0.0)(LABELS, probabilities)) == float(own(LABELS, probabilities))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_traced_loss_takes_what_the_softmax_took(smoothing: float) -> None:
    """Logits of 200 make probabilities of 0 in float32, whose logarithm would be lost."""
    logits = np.array([[200.0, 0.0, 0.0], [0.0, 0.0, 200.0]])

    @tf.function
    def traced(values: tf.Tensor) -> tf.Tensor:
        return cross_entropy(smoothing)(tf.constant([1, 2]), keras.activations.softmax(values))

    # log-probabilities are 0 for the large logit and -200 for the others
    first = (1 - smoothing) * 200 + smoothing * 400 / 3
    second = smoothing * 400 / 3
    assert float(traced(tf.constant(logits, tf.float32))) == pytest.approx(first + second, rel=1e-6)


def test_half_precision_is_summed_in_float32() -> None:
    probabilities = tf.constant(np.tile([0.25, 0.75], (1000, 1)), tf.bfloat16)
    loss = cross_entropy(0.1)(tf.zeros(1000, tf.int32), probabilities)
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(-1000 * (0.95 * np.log(0.25) + 0.05 * np.log(0.75)), rel=1e-5)
