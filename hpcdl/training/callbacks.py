"""What makes `model.fit` on every rank behave as in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hpcdl.engine.base import Engine
from hpcdl.errors import ConfigError
from hpcdl.training.distribute import adopt, hook_of, mean_statistics, share_start
from hpcdl.training.session import current

Logs = dict[str, Any]


def callbacks() -> list[keras.callbacks.Callback]:
    """The callbacks that a distributed `fit` needs; put them before your own.

    They give every rank rank 0's start, and make epoch logs and what `evaluate` returns those of
    all ranks' samples, so that early stopping, learning-rate decisions and logs are the same on
    every rank. The start includes the state of dropout layers, so all ranks draw the same masks,
    each for its own samples.

    Raises:
        WorldError: `hpcdl.init` was not called.
    """
    current()
    return [JoinRanks()]


class JoinRanks(keras.callbacks.Callback):  # type: ignore[misc]
    """Checks the model, broadcasts the start, and sums metric states over the ranks.

    Keras computes an epoch's logs, and what `evaluate` returns, with `model.get_metrics_result`
    before any callback sees them; inside `fit` and `evaluate` that method of this model answers
    for all ranks. Elsewhere it is the model's own: a rank may evaluate alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._session = current()
        self._depth = 0  # evaluate runs inside fit

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        adopt(model, self._session)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if hook_of(self.model.optimizer) is None:
            raise ConfigError(
                "a model compiled with an optimizer that trains on its own",
                "an optimizer from hpcdl.distribute",
                "model.compile(optimizer=hpcdl.distribute(optimizer), …)",
            )
        share_start(self.model, self._session)
        self._enter()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        mean_statistics(self._session.engine, self.model)
        self._enter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        mean_statistics(self._session.engine, self.model)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._leave()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._leave()

    def _enter(self) -> None:
        self._depth += 1
        if self._depth == 1 and self._session.world.size > 1:
            # An earlier fit that an exception ended has left its own behind.
            plain = getattr(self.model.get_metrics_result, "hpcdl_plain", self.model.get_metrics_result)
            self.model.get_metrics_result = over_ranks(self._session.engine, self.model, plain)

    def _leave(self) -> None:
        self._depth -= 1
        if self._depth == 0 and self._session.world.size > 1:
            del self.model.get_metrics_result


def over_ranks(engine: Engine, model: keras.Model, plain: Callable[[], Logs]) -> Callable[[], Logs]:
    """The model's get_metrics_result, over the samples of all ranks.

    Right for metrics whose state holds sums (total and count, confusion counts), as nearly all of
    Keras's do; PearsonCorrelation and others that keep means are not among them.
    """

    def get_metrics_result() -> Logs:
        if not tf.executing_eagerly():  # inside a compiled step; Keras asks again at the end of the epoch
            return dict(plain())
        states = [variable for metric in model.metrics for variable in metric.variables]
        own = [variable.numpy() for variable in states]
        for variable, value in zip(states, own, strict=True):
            variable.assign(engine.sum_array(np.asarray(value)))
        merged = dict(plain())
        for variable, value in zip(states, own, strict=True):
            variable.assign(value)
        return merged

    get_metrics_result.hpcdl_plain = plain  # type: ignore[attr-defined]
    return get_metrics_result
