"""What Python works out, for a tf.data pipeline to take.

A process whose pipeline called Python has hung at its end: the interpreter waited for the iterator, and the
iterator for a thread that waited for the interpreter. So a thread of ours puts arrays into a queue of TensorFlow's,
from which the pipeline takes them, and the queue is closed before the iterator goes.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from threading import Thread

import tensorflow as tf

from hpcdl.data.rows import Row

ENDLESS = 2**62


class Feed:
    """Rows of arrays that a thread computes ahead.

    Args:
        rows: what is computed, at any time before `close`.
        specs: of the arrays of a row.
        ahead: rows that wait.
    """

    def __init__(self, rows: Iterable[Row], specs: Sequence[tf.TensorSpec], ahead: int) -> None:
        with tf.device("/CPU:0"):
            self._queue = tf.queue.FIFOQueue(ahead, [spec.dtype for spec in specs])
        self._specs = specs
        self._errors: list[Exception] = []
        thread = Thread(target=_fill, args=(self._queue, rows, self._errors), daemon=True)
        thread.start()
        self.close = weakref.finalize(self, _close, self._queue, thread)
        """Ends thread and queue, at the latest when Python ends: what takes rows after that gets an error."""

    @property
    def error(self) -> Exception | None:
        """What kept the thread from going on: the rows after the last good one will never come."""
        return self._errors[0] if self._errors else None

    def dataset(self) -> tf.data.Dataset:
        """The rows. It has no end: who takes them knows how many there are."""

        def take(_: tf.Tensor) -> tuple[tf.Tensor, ...]:
            row = self._queue.dequeue()
            return tuple(tf.ensure_shape(part, spec.shape) for part, spec in zip(row, self._specs, strict=True))

        return tf.data.Dataset.range(ENDLESS).map(tf.autograph.experimental.do_not_convert(take))


def _fill(queue: tf.queue.FIFOQueue, rows: Iterable[Row], errors: list[Exception]) -> None:
    try:
        for row in rows:
            queue.enqueue(row)
    except tf.errors.CancelledError:  # closed: nobody wants more
        pass
    except Exception as error:
        errors.append(error)
        queue.close()


def _close(queue: tf.queue.FIFOQueue, thread: Thread) -> None:
    with tf.init_scope():  # now, also where garbage is collected while a graph is made
        queue.close(cancel_pending_enqueues=True)
    thread.join()
