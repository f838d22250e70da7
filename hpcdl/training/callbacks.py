"""What makes `model.fit` on every rank behave as in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from hpcdl.engine.base import Engine
from hpcdl.errors import ConfigError
from hpcdl.training.agreement import agree
from hpcdl.training.distribute import adopt, hook_of, share_start
from hpcdl.training.replicas import ReplicaCheck
from hpcdl.training.session import current
from hpcdl.training.step import is_built
from hpcdl.training.writers import only_leader_writes

Logs = dict[str, Any]


def callbacks(*, check_every: int | None = 100) -> list[keras.callbacks.Callback]:
    """The callbacks that a distributed `fit` needs; put them before your own.

    They give every rank rank 0's start, and make epoch logs and what `evaluate` returns those of
    all ranks' samples, so that early stopping, learning-rate decisions and logs are the same on
    every rank. Logs of single batches are the rank's own. Keras's callbacks that write files
    (ModelCheckpoint, CSVLogger, TensorBoard, BackupAndRestore, RemoteMonitor) write on rank 0
    only from here on. The start includes the state of dropout layers, so all ranks draw the same
    masks, each for its own samples.

    Args:
        check_every: compare the ranks' weights after this many batches (of `steps_per_execution`
            steps each), more rarely where that takes over 1 % of the time; None never does.

    Raises:
        ConfigError: check_every is not a positive number.
        WorldError: `hpcdl.init` was not called.
    """
    if check_every is not None and check_every < 1:
        raise ConfigError(f"check_every={check_every}", "a positive number of batches, or None", "leave it out for 100")
    only_leader_writes(current().world.is_leader)
    return [JoinRanks(check_every)]


class JoinRanks(keras.callbacks.Callback):  # type: ignore[misc]
    """Checks the model, broadcasts the start, sums metric states over the ranks, and compares weights.

    Keras computes an epoch's logs, and what `evaluate` returns, with `model.get_metrics_result`
    before any callback sees them; inside `fit` and `evaluate` that method of this model answers
    for all ranks. Elsewhere it is the model's own: a rank may evaluate alone.
    """

    def __init__(self, check_every: int | None) -> None:
        super().__init__()
        self._session = current()
        self._depth = 0  # evaluate runs inside fit
        self._check_every = check_every
        self._check: ReplicaCheck | None = None
        self._batches = 0

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        adopt(model, self._session)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        engine, distributed = self._session.engine, hook_of(self.model.optimizer) is not None
        mend = "model.compile(optimizer=hpcdl.distribute(optimizer), …)"
        agree(engine, "the optimizer goes through hpcdl.distribute", distributed, mend)
        if not distributed:
            raise ConfigError(
                "a model compiled with an optimizer that trains on its own", "an optimizer from hpcdl.distribute", mend
            )
        for name in ("steps", "epochs"):
            agree(engine, f"{name} of this fit", self.params.get(name), "give every rank the same data and arguments")
        if is_built(self.model):
            share_start(self.model, self._session)
        self._check, self._batches = None, 0
        self._enter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._check is None and self._check_every:  # only now is every model built
            self._check = ReplicaCheck(self._session.engine, self.model.weights, self._check_every)
        if self._check:
            self._check.step(self._batches)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._enter()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._leave()
        if self._check:
            self._check.compare(self._batches)

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

    Right for metrics whose state holds sums (total and count, confusion counts), as Keras's do; one of
    the user's own that keeps a maximum is not among them.
    """

    def get_metrics_result() -> Logs:
        if not tf.executing_eagerly():  # inside a compiled step; Keras asks again at the end of the epoch
            return dict(plain())
        states = [variable for metric in model.metrics for variable in metric.variables]
        own = [tf.identity(variable.value) for variable in states]
        for variable, total in zip(states, engine.sum_tensors(own, "metrics"), strict=True):
            variable.assign(total)
        merged = dict(plain())
        for variable, value in zip(states, own, strict=True):
            variable.assign(value)
        return merged

    get_metrics_result.hpcdl_plain = plain  # type: ignore[attr-defined]
    return get_metrics_result
