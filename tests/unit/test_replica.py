"""What a rank hands to the engine's sums, against an engine that counts it; and who computes the update."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpcdl.data.order import shares
from hpcdl.data.stream import Stream
from hpcdl.engine.single import SingleEngine
from hpcdl.training.loss import cross_entropy
from hpcdl.training.optimizers import CLASSES
from hpcdl.training.replica import Replica, Stepped


class Counting(SingleEngine):
    """A world of two, of which one is here."""

    size = 2

    def __init__(self) -> None:
        self.bytes = 0

    def sum_tensors(
        self, tensors: Sequence[tf.Tensor], name: str = "gradients", wire: tf.DType | None = None
    ) -> list[tf.Tensor]:
        for each in tensors:
            width = wire.size if wire is not None and each.dtype == tf.float32 else each.dtype.size
            self.bytes += width * (each.shape.num_elements() or 0)
        return list(tensors)


@pytest.mark.parametrize("wire", [None, tf.bfloat16, tf.float16])
@pytest.mark.parametrize("ordered", [False, True])
def test_bytes_and_times_of_an_update(ordered: bool, wire: tf.DType | None) -> None:
    if ordered and wire is not None:
        return
    layers = [keras.layers.Flatten(), keras.layers.Dense(5), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers, keras.layers.Dense(3, activation="softmax")])
    engine = Counting()
    replica = Replica(model, keras.optimizers.SGD(0.1), engine, 2, cross_entropy(), ordered=ordered, wire=wire)
    images, labels = tf.random.normal([4, 4, 4, 1], seed=1), tf.constant([0, 1, 2, 0])
    seeds = tf.zeros([2, 0, 2], tf.int32)
    # Eagerly, so that shapes are those of this update.
    before = replica.clock()
    now = tf.constant(before, tf.float64)
    row = replica._step(images, labels, seeds, tf.constant([0, 2]), tf.constant(0.0), now - 0.5, now)
    done = Stepped(*row.numpy().tolist())
    after = replica.clock()
    assert engine.bytes == replica.allreduce_bytes(2) > 0
    assert before <= before + done.computed + done.communication <= done.ended <= after
    assert done.waited == pytest.approx(0.5)
    assert (done.images, done.votes) == (4, 0)
    weights = 16 * 5 + 5 + 2 * 5 + 5 * 3 + 3
    if not ordered:
        assert engine.bytes == weights * (4 if wire is None else 2) + 4 * (2 * 5 + 3 + 1)
    alone = Replica(model, keras.optimizers.SGD(0.1), SingleEngine(), 2, cross_entropy(), wire=wire)
    assert alone.allreduce_bytes(2) == 0


@pytest.mark.parametrize("name", [*CLASSES, "scaled"])
def test_xla_makes_the_update_that_tensorflow_makes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for least in (0, 10**9):
        monkeypatch.setattr("hpcdl.training.replica.COMPILED", least)
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Conv2D(6, 3, use_bias=False), keras.layers.BatchNormalization(), keras.layers.Flatten()]
        model = keras.Sequential([keras.Input((6, 6, 2)), *layers, keras.layers.Dense(3, activation="softmax")])
        optimizer = CLASSES.get(name, keras.optimizers.SGD)(learning_rate=0.05)
        if name == "scaled":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0, dynamic_growth_steps=2)
        replica = Replica(model, optimizer, SingleEngine(), 4, cross_entropy())
        one = tf.random.stateless_normal([8, 6, 6, 2], [1, 2]), tf.constant([0, 1, 2, 0, 2, 2, 1, 0])
        [share] = shares(8, 8, 4, 0, 1)
        rates = np.array([0.05, 0.02, 0.02, 0.01], np.float32)
        rows = replica.steps(
            Stream(tf.data.Dataset.from_tensors(one).repeat()), 4, share, np.zeros((4, 2, 0, 2), np.uint32), rates
        )
        found.append([rows[:, :4], *(each.numpy() for each in [*model.variables, *optimizer.variables])])
        assert rows[3, 0] < rows[0, 0]
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-6)
