"""One rank's copy of a network, and the functions that TensorFlow compiles for it."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time

import keras
import numpy as np
import tensorflow as tf

from hpcdl.engine.base import Engine, reducible
from hpcdl.training.loss import Loss, cross_entropy
from hpcdl.training.state import State
from hpcdl.training.views import ONCE, Views, probabilities

Tensors = list[tf.Tensor]


class Replica:
    """Computes, reduces and applies gradients of the mean loss over an update's images.

    A micro-batch yields a row: the gradients of its summed loss, what it adds to the moving
    statistics, and [loss, hits, images]. Rows are folded in the order of the micro-batches,
    total = total x decay + row, where decay is 1 but for moving statistics, whose momentum it is.
    A fold over all ranks' rows is the sum over ranks of each one's own fold, times decay to the
    power of the micro-batches that come later: so one allreduce serves for all of it, and the
    result depends on the micro-batches and not on who had them.

    Args:
        model: built, ending in a softmax.
        optimizer: a plain Keras optimizer; the reduction is made here.
        engine: the ranks.
        micro_batch: images a forward pass.
        loss: (labels, probabilities) -> the loss summed over images, which is trained.
        ordered: fold all rows in the one order that does not depend on the ranks: every rank gets
            every row, at micro-batches times the traffic and memory.
        wire: the 16-bit type in which gradients travel.
        views: how each image is looked at in an evaluation.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        engine: Engine,
        micro_batch: int,
        loss: Loss,
        ordered: bool = False,
        wire: tf.DType | None = None,
        views: Views = ONCE,
    ) -> None:
        self.model, self.optimizer, self.state = model, optimizer, State(model)
        self._engine, self._loss, self._micro_batch = engine, loss, micro_batch
        self._ordered, self._wire, self._views = ordered, wire, views
        optimizer.build(model.trainable_variables)
        self._decays = [1.0] * len(model.trainable_variables) + self.state.momenta + [1.0]
        # A network without state looks at one image at a time: cutting its batch changes nothing
        # but the order of sums, so a rank takes all its micro-batches in one pass.
        self._one_pass = not model.non_trainable_variables and not ordered
        self.step = tf.function(self._step, autograph=False)
        self.evaluate = tf.function(self._evaluate, autograph=False, reduce_retracing=True)
        # TensorFlow optimises a graph as a whole, and may round in another way where another part of it
        # changes. Ranks whose shares have other shapes must yet make the same bits of the same sums, and
        # all micro-batches must round alike where rows are folded in order: these are compiled apart.
        apart = {"_noinline": True}
        self._update = tf.function(self._apply, autograph=False, experimental_attributes=apart)
        self._micro = tf.function(self._micro_step, autograph=False, experimental_attributes=apart if ordered else None)

    def _step(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        first: tf.Tensor,
        micros: tf.Tensor,
        vote: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """One update.

        Args:
            images: this rank's part of the update's images, (n, height, width, channels).
            labels: theirs, (n,), or (n, classes) where they are mixed.
            seeds: for each micro-batch of this rank and each random layer, (micro-batches, layers, 2).
            first: number of this rank's first micro-batch in the update, a scalar.
            micros: micro-batches of the update, over all ranks.
            vote: 1 where this rank asks all to stop after the update, a float32 scalar. It travels with the
                gradients, so that all learn of it at the same update, at no cost.

        Returns:
            [loss, hits, images, votes] summed over ranks; when this rank's last gradient was there, as `clock` tells
            it; and the seconds of exposed communication.
        """
        rows = self._rows(images, labels, seeds)
        with tf.control_dependencies([each for row in rows for each in row]):
            begin = self._now()
        with tf.control_dependencies([] if self._engine.overlaps else [begin]):
            *totals, votes = (self._fold_all if self._ordered else self._fold)(rows, first, micros, vote)
        with tf.control_dependencies(totals):
            seconds = self._now() - begin
        self._update(totals, micros)
        return tf.concat([totals[-1], [votes]], axis=0), begin, seconds

    def _apply(self, totals: Tensors, micros: tf.Tensor) -> None:
        """What the sums over all ranks make of weights, the optimizer's state and moving statistics."""
        count = len(self.model.trainable_variables)
        gradients, added, images = totals[:count], totals[count:-1], totals[-1][2]
        self.optimizer.apply([each / tf.cast(images, each.dtype) for each in gradients], self.model.trainable_variables)
        self.state.add(added, micros)

    def allreduce_bytes(self, micros: int) -> int:
        """What this rank hands to the engine's sums in an update of so many micro-batches over all ranks, as it
        travels: gradients, moving statistics, three sums and the vote. 0 for one rank alone."""
        if self._engine.size == 1:
            return 0
        like = [*self._like(), tf.zeros([])]
        elements = [int(each.shape.num_elements() or 1) for each in like]
        if self._ordered:
            return 4 * (micros * sum(elements[:-1]) + 1)
        widths = [reducible(np.dtype(each.dtype.as_numpy_dtype)).itemsize for each in like]
        for at, each in enumerate(like[: len(self.model.trainable_variables)]):
            if self._wire is not None and each.dtype == tf.float32:
                widths[at] = self._wire.size
        return sum(count * width for count, width in zip(elements, widths, strict=True))

    @property
    def clock(self) -> Callable[[], float]:
        """The clock of the times that `step` answers, in seconds."""
        # TensorFlow's own clock, which is the system's, is refused where operations must be deterministic.
        return perf_counter if self._ordered else time

    def _now(self) -> tf.Tensor:
        return tf.numpy_function(self.clock, [], tf.float64) if self._ordered else tf.timestamp()

    def _rows(self, images: tf.Tensor, labels: tf.Tensor, seeds: tf.Tensor) -> list[Tensors]:
        """The row of each micro-batch of this rank; with one pass, of all of them together."""
        count = images.shape[0]
        size = max(1, count if self._one_pass else self._micro_batch)
        rows = [
            self._micro(images[begin : begin + size], labels[begin : begin + size], seeds[begin // size])
            for begin in range(0, count, size)
        ]
        # What waits for a call that TensorFlow inlines waits for its side effects and not for its results.
        return [[tf.identity(each) for each in row] for row in rows]

    def _fold(self, rows: list[Tensors], first: tf.Tensor, micros: tf.Tensor, vote: tf.Tensor) -> Tensors:
        """Own rows, then a sum over the ranks; the votes last."""
        own = rows[0] if rows else [tf.zeros(each.shape, each.dtype) for each in self._like()]
        for row in rows[1:]:
            own = [_fold(*each) for each in zip(own, self._decays, row, strict=True)]
        later = tf.cast(micros - first - len(rows), tf.float32)
        weighted = [each if decay == 1 else each * decay**later for each, decay in zip(own, self._decays, strict=True)]
        if self._wire is None:
            return self._engine.sum_tensors([*weighted, vote])
        # What travels must be of the size of a mean: the range of 16 bits is small.
        count, scale = len(self.model.trainable_variables), tf.cast(micros * self._micro_batch, tf.float32)
        gradients = [each / tf.cast(scale, each.dtype) for each in weighted[:count]]
        sums = self._engine.sum_tensors(gradients, wire=self._wire)
        exact = self._engine.sum_tensors([*weighted[count:], vote], "sums")
        return [each * tf.cast(scale, each.dtype) for each in sums] + exact

    def _fold_all(self, rows: list[Tensors], first: tf.Tensor, micros: tf.Tensor, vote: tf.Tensor) -> Tensors:
        """Every rank's rows, one by one: a sum with zeros is exact, so no order of ranks shows in the bits."""
        like = self._like()
        sizes = [int(each.shape.num_elements() or 0) for each in like]
        decay = tf.concat([tf.fill([size], each) for size, each in zip(sizes, self._decays, strict=True)], axis=0)
        flat = [tf.concat([tf.reshape(tf.cast(each, tf.float32), [-1]) for each in row], axis=0) for row in rows]
        own = tf.stack(flat) if flat else tf.zeros([0, sum(sizes)])
        padded = tf.pad(own, [[first, micros - first - len(rows)], [0, 0]])
        every, votes = self._engine.sum_tensors([padded, vote])
        total = tf.foldl(lambda sums, row: sums * decay + row, every, tf.zeros([sum(sizes)]))
        parts = tf.split(total, sizes)
        sums = [tf.cast(tf.reshape(part, each.shape), each.dtype) for part, each in zip(parts, like, strict=True)]
        return [*sums, votes]

    def _like(self) -> Tensors:
        """Tensors of the shapes of a row."""
        weights = [variable.value for variable in self.model.trainable_variables]
        return [*weights, *self.state.moving, tf.zeros([3])]

    def _micro_step(self, images: tf.Tensor, labels: tf.Tensor, seeds: tf.Tensor) -> Tensors:
        """The row of one micro-batch."""
        weights = [tf.convert_to_tensor(variable.value) for variable in self.model.trainable_variables]
        start = self.state.start(seeds)
        count = tf.cast(tf.shape(images)[0], tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            predictions, after, losses = self.model.stateless_call(
                weights, start, images, training=True, return_losses=True
            )
            loss = self._loss(labels, predictions)
            # regularisation is a term of the mean, so it counts once an image
            total = self.optimizer.scale_loss(loss + count * tf.add_n(losses) if losses else loss)
        gradients = tape.gradient(total, weights, unconnected_gradients="zero")
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return [*dense, *self.state.added(start, after), tf.stack([loss, _hits(labels, predictions), count])]

    def _evaluate(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """[loss, hits, images] of this rank's images; the loss is the cross-entropy, whatever is trained."""
        predictions = probabilities(self.model, images, self._views)
        count = tf.cast(tf.shape(images)[0], tf.float32)
        return tf.stack([cross_entropy()(labels, predictions), _hits(labels, predictions), count])


def _fold(total: tf.Tensor, decay: float, row: tf.Tensor) -> tf.Tensor:
    return total + row if decay == 1 else total * decay + row


def _hits(labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
    best = tf.argmax(predictions, axis=-1, output_type=tf.int32)
    known = tf.argmax(labels, axis=-1, output_type=tf.int32) if len(labels.shape) == 2 else tf.cast(labels, tf.int32)
    return tf.reduce_sum(tf.cast(best == known, tf.float32))
