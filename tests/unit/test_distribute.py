"""What `hpcdl.distribute` sends for an update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import keras
import pytest
import tensorflow as tf

from hpcdl.engine.base import Engine
from hpcdl.training.distribute import Hook
from hpcdl.training.session import Session
from hpcdl.world import World


class Twin:
    """An engine of 2 ranks that bring the same values; keeps what was sent."""

    name, rank, size = "twin", 0, 2

    def __init__(self) -> None:
        self.sent: list[list[tf.DType]] = []

    def sum_tensors(self, tensors: Sequence[tf.Tensor], name: str = "", wire: Any = None) -> list[tf.Tensor]:
        self.sent.append([tensor.dtype for tensor in tensors])
        return [2 * tensor for tensor in tensors]


def updated(statistics: list[keras.Variable], accumulates: bool, vote: float = 0) -> tuple[Twin, Hook, list[Any]]:
    """What was sent for an update of two weights, and what the optimizer got."""
    engine, applied = Twin(), list[Any]()
    session = Session(World(0, 2), cast(Engine, engine), tf.constant(3.0))
    hook = Hook(session, lambda grads, **_: applied.extend(grads), common_start=True, statistics=statistics)
    hook.accumulates = accumulates
    hook.vote.assign(vote)
    hook.apply([tf.constant([1.0, 2.0]), None, tf.constant(5.0)])
    return engine, hook, applied


def test_an_update_is_one_allreduce_of_one_type() -> None:
    """Buffers hold one type each, so a second type would be a second allreduce."""
    engine, _, applied = updated([], accumulates=False)
    assert engine.sent == [[tf.float32] * 4]  # two gradients, the vote, the samples
    assert [None if each is None else each.numpy().tolist() for each in applied] == [[1, 2], None, 5]


@pytest.mark.parametrize("accumulates", [False, True])
@pytest.mark.parametrize("vote", [0.0, 1.0])
def test_the_vote_and_statistics_travel_with_the_update(accumulates: bool, vote: float) -> None:
    mean = keras.Variable([4.0, 8.0])
    _, hook, applied = updated([mean], accumulates, vote)
    assert len(applied) == 3
    assert float(hook.vote) == vote and mean.numpy().tolist() == [4, 8]
