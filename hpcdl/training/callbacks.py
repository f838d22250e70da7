"""What makes `model.fit` on every rank behave as in one process."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hpcdl.engine.base import Engine
from hpcdl.errors import ConfigError
from hpcdl.training.distribute import broadcast_variables, is_distributed, lift_over_loss_scaling, mean_statistics
from hpcdl.training.session import current

Logs = dict[str, Any]


def callbacks() -> list[keras.callbacks.Callback]:
    """The callbacks that a distributed `fit` needs; put them before your own.

    They give every rank rank 0's start, and make epoch logs and what `evaluate` returns those of
    all ranks' samples, so that early stopping, learning-rate decisions and logs are the same on
    every rank.

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
        if model.optimizer is None:  # compiled to evaluate only
            return
        lift_over_loss_scaling(model.optimizer)
        if not is_distributed(model.optimizer):
            raise ConfigError(
                "a model compiled with an optimizer that trains on its own",
                "an optimizer from hpcdl.distribute",
                "model.compile(optimizer=hpcdl.distribute(optimizer), …)",
            )
        if model.jit_compile and self._session.world.size > 1:
            # An allreduce has no XLA kernel, and Keras compiles the whole step on a GPU by default.
            model.jit_compile = False
            if self._session.world.is_leader:
                warnings.warn("hpcdl: jit_compile is off, for XLA cannot compile the reduction", stacklevel=2)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        broadcast_variables(self._session.engine, [*self.model.variables, *self.model.optimizer.variables])
        self._session.replicas_alike = True
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
            self.model.get_metrics_result = over_ranks(self._session.engine, self.model)

    def _leave(self) -> None:
        self._depth -= 1
        if self._depth == 0 and self._session.world.size > 1:
            del self.model.get_metrics_result


def over_ranks(engine: Engine, model: keras.Model) -> Callable[[], Logs]:
    """The model's get_metrics_result, over the samples of all ranks.

    A metric's state holds sums (total and count, confusion counts), and sums add.
    """
    plain = model.get_metrics_result

    def get_metrics_result() -> Logs:
        if not tf.executing_eagerly():  # inside a compiled step; Keras asks again at the end of the epoch
            return dict(plain())
        states = [variable for metric in model.metrics for variable in metric.variables]
        own = [variable.numpy() for variable in states]
        for variable, value in zip(states, own, strict=True):
            variable.assign(engine.sum_array(np.asarray(value)))
        merged = {name: float(value) for name, value in plain().items()}
        for variable, value in zip(states, own, strict=True):
            variable.assign(value)
        return merged

    return get_metrics_result
