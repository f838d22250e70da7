"""A rank's batches as they come: for Python, one by one, or for a compiled function that takes them by itself."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import repeat
from typing import Any

import tensorflow as tf

from hpcdl.data.feed import Feed
from hpcdl.data.order import Share

Batch = tuple[tf.Tensor, tf.Tensor]
Place = tuple[int, Share]
"""An epoch, and a share of it."""
Named = Callable[[Sequence[Place], Exception], Exception]


class Stream:
    """Batches of images and labels.

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
        self.iterator: Any = iter(batches)
        """TensorFlow's, for a compiled function to take batches from; call it inside `taking`."""
        if feed:
            weakref.finalize(self, feed.close)  # the feed must end before the iterator does

    def taking(self, count: int = 1) -> AbstractContextManager[None]:
        """Inside, so many batches are taken; where one cannot be made, the error says which image is to blame.

        Raises:
            StopIteration: there are no more.
        """
        return self._blaming([next(self._places) for _ in range(count)])

    @contextmanager
    def _blaming(self, places: Sequence[Place]) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            raise self._named(places, (self._feed and self._feed.error) or error) from None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        with self.taking():
            batch: Batch = next(self.iterator)
        return batch
