"""One rank's copy of a network, and the functions that TensorFlow compiles for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter, time
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpcdl.data.order import Share
from hpcdl.data.stream import Batch, Batched
from hpcdl.engine.base import Engine, reducible
from hpcdl.training.loss import Loss, cross_entropy
from hpcdl.training.state import State
from hpcdl.training.views import ONCE, Views, probabilities

Tensors = list[tf.Tensor]
COMPILED = 10**6
"""Weights from which on XLA makes the update on CPUs: in one pass over memory where TensorFlow takes one an operation,
at a tenth of a millisecond a call."""


class Stepped(NamedTuple):
    """What one update answers: a row of what `Replica.steps` makes."""

    loss: float
    """Summed over the update's images, of all ranks, as hits and images are."""
    hits: float
    images: float
    votes: float
    """Ranks that asked to stop."""
    waited: float
    """Seconds for images."""
    computed: float
    """Seconds from there to this rank's last gradient."""
    communication: float
    """Seconds of exposed communication."""
    ended: float
    """When the weights had moved: seconds of `Replica.clock`."""


class Replica:
    """Computes, reduces and applies gradients of the mean loss over an update's images.

    A micro-batch yields a row: the gradients of its summed loss, what it adds to the moving
    statistics, and [loss, hits, images]. Rows are folded in the order of the micro-batches,
    total = total x decay + row, where decay is 1 but for moving statistics, whose momentum it is.
    That is the sum of all rows, each times decay to the power of the micro-batches that come
    later: so one allreduce serves for all of it, and the result depends on the micro-batches and
    not on who had them.

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
        self._compiled: dict[tuple[Any, ...], Callable[..., tf.Tensor]] = {}
        self.evaluate = tf.function(self._evaluate, autograph=False, reduce_retracing=True)
        # TensorFlow optimises a graph as a whole, and may round in another way where another part of it
        # changes. Ranks whose shares have other shapes must yet make the same bits of the same sums, and
        # all micro-batches must round alike where rows are folded in order: these are compiled apart.
        apart = {"_noinline": True}
        weights = sum(int(each.shape.num_elements()) for each in model.trainable_variables)
        if weights >= COMPILED and not tf.config.list_logical_devices("GPU"):
            self._update = tf.function(self._apply, autograph=False, jit_compile=True)
        else:
            self._update = tf.function(self._apply, autograph=False, experimental_attributes=apart)
        self._micro = tf.function(self._micro_step, autograph=False, experimental_attributes=apart if ordered else None)

    def steps(
        self,
        batches: Batched,
        count: int,
        part: Share,
        seeds: npt.NDArray[np.uint32],
        rates: npt.NDArray[np.float32],
        *,
        stop: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Updates on the next batches, one after the other, without Python between them.

        A call of TensorFlow from Python costs as much as a small network.

        Args:
            batches: images (n, height, width, channels), this rank's parts of the updates', and labels (n,), or
                (n, classes) where they are mixed.
            count: updates.
            part: of the first of them; the others' differ in their place in the epoch alone.
            seeds: for each update, each micro-batch of this rank and each random layer,
                (updates, micro-batches, layers, 2).
            rates: each update's learning rate, (updates,).
            stop: this rank asks all to stop. It travels with the gradients, so that all learn of it at the same
                update, at no cost.

        Returns:
            A row of `Stepped` for each update.

        Raises:
            DataError: an image cannot be read or decoded.
        """
        size = part.stop - part.start
        key = (batches.batch, size, seeds.shape[1:])
        if key not in self._compiled:
            specs = (
                tf.TensorSpec([None, *seeds.shape[1:]], tf.uint32),
                tf.TensorSpec([2], tf.int32),
                tf.TensorSpec([None], tf.float32),
                tf.TensorSpec([], tf.float32),
            )
            compiled = tf.function(partial(self._steps, batches.batch, size), autograph=False)
            self._compiled[key] = compiled.get_concrete_function(batches.spec, *specs)
        given = (seeds, np.array([part.first, part.micros], np.int32), rates, np.float32(stop))
        with batches.taking(count) as taken:
            found: npt.NDArray[np.float64] = self._compiled[key](taken, *map(tf.constant, given)).numpy()
        return found

    def _steps(
        self,
        batch: Callable[[Any, tf.Tensor], Batch],
        size: int,
        taken: Any,
        seeds: tf.Tensor,
        place: tf.Tensor,
        rates: tf.Tensor,
        vote: tf.Tensor,
    ) -> tf.Tensor:
        """What is compiled for parts of `size` images.

        Args:
            batch: see Batched, as what was taken.
            size: images.
            taken: what the batches come from.
            seeds: see `steps`, as rates.
            place: [number of this rank's first micro-batch in each update, its micro-batches over all ranks].
            vote: 1 where this rank asks all to stop, a float32 scalar.
        """

        def body(number: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            self.optimizer.learning_rate = rates[number]
            begin = self._now()
            with tf.control_dependencies([begin]):
                images, labels = batch(taken, number)
            images = tf.ensure_shape(images, [size, *self.model.inputs[0].shape[1:]])
            labels = tf.ensure_shape(labels, [size, *labels.shape[1:]])
            with tf.control_dependencies([images, labels]):
                came = self._now()
            with tf.control_dependencies([came]):  # else the clock is read when a thread has time for it
                images, labels = tf.identity(images), tf.identity(labels)
            row = self._step(images, labels, seeds[number], place, vote, begin, came)
            # TensorFlow begins the next round as soon as its number is known.
            with tf.control_dependencies([row]):
                return number + 1, rows.write(number, row)

        updates = tf.shape(rates)[0]
        none = tf.TensorArray(tf.float64, updates, element_shape=[len(Stepped._fields)])
        _, rows = tf.while_loop(lambda number, _: number < updates, body, (0, none))
        return rows.stack()

    def _step(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        place: tf.Tensor,
        vote: tf.Tensor,
        begin: tf.Tensor,
        came: tf.Tensor,
    ) -> tf.Tensor:
        """One update, see `_steps`, that began, and whose images came, then: a row of `Stepped`."""
        first, micros = tf.unstack(place)
        rows = self._rows(images, labels, seeds)
        with tf.control_dependencies([each for row in rows for each in row]):
            computed = self._now()
        with tf.control_dependencies([] if self._engine.overlaps else [computed]):
            *totals, votes = (self._fold_all if self._ordered else self._fold)(rows, first, micros, vote)
        with tf.control_dependencies(totals):
            summed = self._now()
        with tf.control_dependencies([self._update(totals, micros)]):
            ended = self._now()
        counts = tf.cast(tf.concat([totals[-1], [votes]], axis=0), tf.float64)
        times = tf.stack([came - begin, computed - came, summed - computed, ended])
        return tf.concat([counts, times], axis=0)

    def _apply(self, totals: Tensors, micros: tf.Tensor) -> tf.Tensor:
        """What the sums over all ranks make of weights, the optimizer's state and moving statistics.

        Answers something, for which whoever comes after it can wait.
        """
        count = len(self.model.trainable_variables)
        gradients, added, images = totals[:count], totals[count:-1], totals[-1][2]
        self.optimizer.apply([each / tf.cast(images, each.dtype) for each in gradients], self.model.trainable_variables)
        self.state.add(added, micros)
        return tf.identity(images)

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
        """The clock of the times that `steps` answers, in seconds."""
        # TensorFlow's own clock, which is the system's, is refused where operations must be deterministic.
        return perf_counter if self._ordered else time

    def _now(self) -> tf.Tensor:
        return tf.numpy_function(lambda: np.float64(self.clock()), [], tf.float64) if self._ordered else tf.timestamp()

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
        # Each row by itself: where a row is folded into a sum of others by a constant, TensorFlow 2.18's optimiser
        # makes a cycle of it inside a loop, and then leaves the whole graph as it is, without a word.
        weighted = [self._weighted(row, micros - first - number) for number, row in enumerate(rows, 1)]
        own = weighted[0] if rows else [tf.zeros(each.shape, each.dtype) for each in self._like()]
        for row in weighted[1:]:
            own = [total + each for total, each in zip(own, row, strict=True)]
        if self._wire is None:
            return self._engine.sum_tensors([*own, vote])
        # What travels must be of the size of a mean: the range of 16 bits is small.
        count, scale = len(self.model.trainable_variables), tf.cast(micros * self._micro_batch, tf.float32)
        gradients = [each / tf.cast(scale, each.dtype) for each in own[:count]]
        sums = self._engine.sum_tensors(gradients, wire=self._wire)
        exact = self._engine.sum_tensors([*own[count:], vote], "sums")
        return [each * tf.cast(scale, each.dtype) for each in sums] + exact

    def _weighted(self, row: Tensors, later: tf.Tensor) -> Tensors:
        """A row, times decay to the power of the update's micro-batches that come later."""
        power = tf.cast(later, tf.float32)
        return [each if decay == 1 else each * decay**power for each, decay in zip(row, self._decays, strict=True)]

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


def _hits(labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
    best = tf.argmax(predictions, axis=-1, output_type=tf.int32)
    known = tf.argmax(labels, axis=-1, output_type=tf.int32) if len(labels.shape) == 2 else tf.cast(labels, tf.int32)
    return tf.reduce_sum(tf.cast(best == known, tf.float32))
