"""What makes `model.fit` on every rank behave as in one process."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hpcdl.errors import ConfigError
from hpcdl.training.distribute import broadcast_variables, is_distributed, lift_over_loss_scaling, mean_statistics
from hpcdl.training.session import current

Logs = dict[str, Any]


def callbacks() -> list[keras.callbacks.Callback]:
    """The callbacks that a distributed `fit` needs; put them before your own.

    They give every rank rank 0's start, and put the metrics over all ranks into `logs`, so that
    early stopping, learning-rate decisions and logs are the same on every rank.

    Raises:
        WorldError: `hpcdl.init` was not called.
    """
    current()
    return [JoinRanks()]


class JoinRanks(keras.callbacks.Callback):  # type: ignore[misc]
    """Checks the model, broadcasts the start, and sums metric states over the ranks."""

    def __init__(self) -> None:
        super().__init__()
        self._session = current()
        self._training_logs: Logs | None = None

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        optimizer = model.optimizer
        lift_over_loss_scaling(optimizer)
        if not is_distributed(optimizer):
            raise ConfigError(
                "a model compiled with an optimizer that trains on its own",
                "an optimizer from hpcdl.distribute",
                "model.compile(optimizer=hpcdl.distribute(optimizer), …)",
            )
        # An allreduce has no XLA kernel, and Keras compiles the whole step on a GPU by default.
        model.jit_compile = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        variables = [*self.model.variables, *self.model.optimizer.variables]
        broadcast_variables(self._session.engine, variables)
        self._session.replicas_alike = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._training_logs = None

    def on_test_begin(self, logs: Logs | None = None) -> None:
        # Keras resets the metrics next; inside fit they still hold the epoch's training.
        mean_statistics(self._session.engine, self.model)
        self._training_logs = self._logs_over_ranks()

    def on_test_end(self, logs: Logs | None = None) -> None:
        if logs is not None:
            logs.update(self._logs_over_ranks())

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._training_logs is None:
            mean_statistics(self._session.engine, self.model)
            self._training_logs = self._logs_over_ranks()
        if logs is not None:
            logs.update(self._training_logs)

    def _logs_over_ranks(self) -> Logs:
        """The metrics of all ranks' samples: states are sums, and sums add."""
        engine = self._session.engine
        metrics = self.model.metrics
        # Before the first batch there is nothing to sum, and a compiled metric is not built.
        states = [variable for metric in metrics for variable in metric.variables]
        own = [variable.numpy() for variable in states]
        for variable, value in zip(states, own, strict=True):
            variable.assign(engine.sum_array(np.asarray(value)))
        merged = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        for variable, value in zip(states, own, strict=True):
            variable.assign(value)
        return merged
