"""One rank's copy of a network, and the functions that TensorFlow compiles for it."""

from __future__ import annotations

import keras
import tensorflow as tf

from hpcdl.engine.base import Engine

Tensors = list[tf.Tensor]


class Replica:
    """Computes, reduces and applies gradients of the mean cross-entropy over an update's images.

    What is summed over the ranks is (gradient x images), loss x images, hits and images, in one
    fused allreduce: the mean is over images, however unevenly they fell.

    Args:
        model: built, ending in a softmax.
        optimizer: a plain Keras optimizer; the reduction is made here.
        engine: the ranks.
        micro_batch: images a forward pass.
    """

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, engine: Engine, micro_batch: int
    ) -> None:
        self.model, self.optimizer, self._engine = model, optimizer, engine
        self._loss = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
        self._micro_batch = micro_batch
        optimizer.build(model.trainable_variables)
        # A network without state looks at one image at a time: cutting its batch changes nothing
        # but the order of sums, so a rank takes all its micro-batches in one pass.
        self._one_pass = not model.non_trainable_variables
        self.step = tf.function(self._step, autograph=False)
        self.evaluate = tf.function(self._evaluate, autograph=False, reduce_retracing=True)
        self._gradients = tf.function(self._own_gradients, autograph=False)  # traced once for all micro-batches

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One update. Returns [loss, hits, images] summed over ranks, and the seconds of exposed communication."""
        gradients, sums = self._micro_batches(images, labels)
        with tf.control_dependencies([*gradients, sums]):
            begin = tf.timestamp()
        with tf.control_dependencies([begin]):
            *totals, sums = self._engine.sum_tensors([*gradients, sums])
        with tf.control_dependencies([*totals, sums]):
            seconds = tf.timestamp() - begin
        self.optimizer.apply(
            [total / tf.cast(sums[2], total.dtype) for total in totals], self.model.trainable_variables
        )
        return sums, seconds

    def _micro_batches(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[Tensors, tf.Tensor]:
        """Gradients of the summed loss, and [loss, hits, images], over this rank's part of an update."""
        count = images.shape[0]
        size = max(1, count if self._one_pass else self._micro_batch)
        gradients = [tf.zeros_like(variable.value) for variable in self.model.trainable_variables]
        sums = tf.zeros([3])
        for begin in range(0, count, size):
            more, own = self._gradients(images[begin : begin + size], labels[begin : begin + size])
            gradients = more if begin == 0 else [total + part for total, part in zip(gradients, more, strict=True)]
            sums += own
        return gradients, sums

    def _own_gradients(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[Tensors, tf.Tensor]:
        variables = [variable.value for variable in self.model.trainable_variables]
        count = tf.cast(tf.shape(images)[0], tf.float32)
        with tf.GradientTape() as tape:
            predictions = self.model(images, training=True)
            loss = self._loss(labels, predictions)
            # regularisation is a term of the mean, so it counts once an image
            total = loss + count * tf.add_n(self.model.losses) if self.model.losses else loss
        return tape.gradient(total, variables, unconnected_gradients="zero"), tf.stack(
            [loss, _hits(labels, predictions), count]
        )

    def _evaluate(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """[loss, hits, images] of this rank's images."""
        predictions = self.model(images, training=False)
        count = tf.cast(tf.shape(images)[0], tf.float32)
        return tf.stack([self._loss(labels, predictions), _hits(labels, predictions), count])


def _hits(labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
    best = tf.argmax(predictions, axis=-1, output_type=labels.dtype)
    return tf.reduce_sum(tf.cast(best == labels, tf.float32))
