"""Rows that a thread works out, and a thread that ends when nobody wants more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hpcdl.config.schema import DataConfig
from hpcdl.data.feed import Feed
from hpcdl.data.order import shares
from hpcdl.data.pipeline import Batches
from hpcdl.data.rows import Row
from hpcdl.data.sources import cifar

SPECS = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([2])]


def rows(until: int | None = None) -> Iterator[Row]:
    for number in count():
        if number == until:
            raise OSError("the disk is gone")
        yield np.arange(number), np.full(2, number, np.float32)


def test_rows_come_in_order_and_of_known_shapes() -> None:
    feed = Feed(rows(), SPECS, ahead=3)
    dataset = feed.dataset()
    assert list(dataset.element_spec) == SPECS
    taken = iter(dataset.prefetch(2))
    for number in range(20):
        first, second = next(taken)
        assert first.numpy().tolist() == list(range(number)) and second.numpy().tolist() == [number, number]
    feed.close()


def test_an_error_comes_after_the_last_good_row() -> None:
    feed = Feed(rows(until=4), SPECS, ahead=10)
    taken = iter(feed.dataset())
    for _ in range(4):
        next(taken)
    with pytest.raises(tf.errors.OpError):
        next(taken)
    assert isinstance(feed.error, OSError)


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_closing_ends_the_thread(taken: int) -> None:
    before = set(threading.enumerate())
    feed = Feed(rows(), SPECS, ahead=1)
    [thread] = set(threading.enumerate()) - before
    source = iter(feed.dataset())
    for _ in range(taken):
        next(source)
    feed.close()
    assert not thread.is_alive() and feed.error is None


def test_closing_ends_the_thread_while_a_graph_is_made() -> None:
    """As where the garbage that is collected then holds a feed."""
    before = set(threading.enumerate())
    feed = Feed(rows(), SPECS, ahead=1)
    [thread] = set(threading.enumerate()) - before
    made = tf.function(lambda: feed.close(), autograph=False)
    closing = threading.Thread(target=made.get_concrete_function, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive() and not thread.is_alive()


def test_batches_that_are_left_alone_leave_no_thread(small_cifar: Path) -> None:
    data = cifar.load(small_cifar / cifar.CIFAR10.folder)
    before = set(threading.enumerate())
    batches = Batches(data, data.train, DataConfig(source="cifar10")).epochs(shares(250, 64, 32, 0, 1), 0)
    next(batches)
    assert set(threading.enumerate()) != before
    del batches
    assert set(threading.enumerate()) == before
