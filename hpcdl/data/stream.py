"""A rank's batches as they come: for Python, one by one, or for a compiled function that takes them by itself.

A compiled function is called with what `taking` gives, and calls `batch` for the images and labels of each update.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise, repeat
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from hpcdl.data.feed import Feed
from hpcdl.data.order import Share
from hpcdl.data.rows import Row

Batch = tuple[tf.Tensor, tf.Tensor]
Place = tuple[int, Share]
"""An epoch, and a share of it."""
Named = Callable[[Sequence[Place], Exception], Exception]


class Batched(Protocol):
    """Batches of images and labels."""

    @property
    def spec(self) -> Any:
        """Of what `taking` gives, for a function to be compiled."""

    def taking(self, count: int = 1) -> AbstractContextManager[Any]:
        """Gives what a compiled function takes the next so many batches from, all of one size, while it does.

        Raises:
            StopIteration: there are no more.
        """

    @property
    def batch(self) -> Callable[[Any, tf.Tensor], Batch]:
        """In a compiled function: (what was taken, a number) -> images and labels of the batch with that number."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...


class Stream:
    """Batches of a tf.data pipeline, which makes them ahead, beside the network.

    Args:
        batches: in their order.
        places: of each batch.
        named: (places, TensorFlow's error) -> the error to raise where one of their batches cannot be made.
        feed: what they come from, if anything; it ends with the stream.
    """

    def __init__(
        self,
        batches: tf.data.Dataset,
        places: Iterator[Place] = repeat((0, Share(0, 0))),  # noqa: B008  nothing is ever taken out of it
        named: Named = lambda _, error: error,
        feed: Feed | None = None,
    ) -> None:
        self._feed, self._places, self._named = feed, places, named
        self.spec: Any = iter(batches)
        if feed:
            weakref.finalize(self, feed.close)  # the feed must end before the iterator does

    def taking(self, count: int = 1) -> AbstractContextManager[Any]:
        """TensorFlow's iterator; where a batch cannot be made, the error says which image is to blame.

        Raises:
            StopIteration: there are no more.
        """
        return self._blaming([next(self._places) for _ in range(count)])

    @staticmethod
    def batch(taken: Any, _: tf.Tensor) -> Batch:
        """The next one."""
        batch: Batch = next(taken)
        return batch

    @contextmanager
    def _blaming(self, places: Sequence[Place]) -> Iterator[Any]:
        try:
            yield self.spec
        except tf.errors.OpError as error:
            raise self._named(places, (self._feed and self._feed.error) or error) from None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        with self.taking() as taken:
            return self.batch(taken, tf.constant(0))


class Gathered:
    """Batches of images in memory, which the compiled function makes by itself.

    A pipeline beside the network costs a small one more than it can hide where there is no core for it.

    Args:
        rows: see `chunks`.
        make: (samples (n,), their random numbers (n, columns)) -> their batch, with TensorFlow's operations.
    """

    spec: Any = (tf.TensorSpec([None, None], tf.int64), tf.TensorSpec([None, None, None]))

    def __init__(self, rows: Iterator[Row], make: Callable[[tf.Tensor, tf.Tensor], Batch]) -> None:
        self._make = make
        self._alone = tf.function(make, autograph=False, reduce_retracing=True)
        self._shares = (
            (samples[start:stop], random[start:stop])
            for samples, random, ends in rows
            for start, stop in pairwise(ends)
        )

    def taking(self, count: int = 1) -> AbstractContextManager[Any]:
        """The batches' samples (count, n) and random numbers (count, n, columns).

        Raises:
            StopIteration: there are no more.
        """
        taken = zip(*[next(self._shares) for _ in range(count)], strict=True)
        return nullcontext(tuple(tf.constant(np.stack(arrays)) for arrays in taken))

    def batch(self, taken: Any, number: tf.Tensor) -> Batch:
        """Makes it."""
        samples, random = taken
        return self._make(samples[number], random[number])

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch: Batch = self._alone(*next(self._shares))
        return batch
