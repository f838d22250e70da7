"""What makes `model.fit` on every rank behave as in one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from hpcdl.config.schema import CheckpointConfig
from hpcdl.engine.base import Engine
from hpcdl.errors import ConfigError
from hpcdl.training.agreement import agree
from hpcdl.training.alive import Alive
from hpcdl.training.distribute import adopt, hook_of, share_start
from hpcdl.training.fit_checkpoints import Checkpoints
from hpcdl.training.interrupt import Interrupt
from hpcdl.training.replicas import ReplicaCheck
from hpcdl.training.session import current
from hpcdl.training.step import is_built
from hpcdl.training.writers import only_leader_writes

Logs = dict[str, Any]


def callbacks(
    checkpoint_dir: str | Path | None = None,
    *,
    every_steps: int | None = None,
    every_seconds: float | None = 600.0,
    every_epochs: int | None = None,
    keep: int = 3,
    time_limit: float | None = None,
    stall_timeout: float | None = 300.0,
    check_every: int | None = 100,
) -> list[keras.callbacks.Callback]:
    """The callbacks that a distributed `fit` needs; put them before your own.

    They give every rank rank 0's start, and make epoch logs and what `evaluate` returns those of
    all ranks' samples, so that early stopping, learning-rate decisions and logs are the same on
    every rank. Logs of single batches are the rank's own. Keras's callbacks that write files
    (ModelCheckpoint, CSVLogger, TensorBoard, BackupAndRestore, RemoteMonitor) write on rank 0
    only from here on. The start includes the state of dropout layers, so all ranks draw the same
    masks, each for its own samples.

    With `checkpoint_dir`, a script that is started again goes on after the last batch that its newest whole
    checkpoint knows: with the weights, the optimizer's state, the metrics of the epoch, the place in
    `hpcdl.shard`'s data, the random layers, and what EarlyStopping, ReduceLROnPlateau, ModelCheckpoint
    and History have learned (and callbacks of your own with `get_state()` and `set_state(value)`, whose value
    JSON can hold). SIGTERM, SIGINT and SIGUSR2 on any rank, `time_limit`, and two minutes before the end of a Slurm
    job make all ranks write a checkpoint after the same batch and leave with code 75. A fit that has ended
    is not trained again. Draws of `tf.random` and of datasets that shuffle by themselves begin anew.

    Args:
        checkpoint_dir: folder for this fit's checkpoints, on a file system that rank 0 sees; None: none.
        every_steps: write one after so many batches.
        every_seconds: and after so many seconds.
        every_epochs: and after so many epochs; of those, the one with the lowest val_loss is kept.
        keep: how many of the newest are kept.
        time_limit: stop in order so many seconds after this call.
        stall_timeout: where there are several ranks, end them all when one does nothing for so many seconds
            while it trains; None: wait for ever.
        check_every: compare the ranks' weights after this many batches (of `steps_per_execution`
            steps each), more rarely where that takes over 1 % of the time; None never does.

    Raises:
        ConfigError: a number is not positive, or says when to write while checkpoint_dir says not where.
            From `fit`: the model is not built, its data do not come from `hpcdl.shard`, or the folder is
            used by an earlier fit or by BackupAndRestore.
        CheckpointError: from `fit`: the newest checkpoint is of another model, data or recipe; or the last one could
            not be written.
        WorldError: `hpcdl.init` was not called.
    """
    given = {
        "every_steps": every_steps,
        "every_seconds": every_seconds,
        "every_epochs": every_epochs,
        "keep": keep,
        "time_limit": time_limit,
        "stall_timeout": stall_timeout,
        "check_every": check_every,
    }
    for name, value in given.items():
        if value is not None and value <= 0:
            raise ConfigError(f"{name}={value}", "a positive number, or None", f"leave {name} out for its default")
    session = current()
    world = session.world
    only_leader_writes(world.is_leader)
    chosen: list[keras.callbacks.Callback] = [JoinRanks(check_every)]
    if stall_timeout and world.size > 1:
        chosen.append(Alive(stall_timeout, world.rank))
    if checkpoint_dir is None:
        for name in ("every_steps", "every_epochs", "time_limit"):
            if given[name] is not None:
                raise ConfigError(f"{name}={given[name]} without checkpoint_dir", "both", 'checkpoint_dir="runs/a"')
        return chosen
    if not (every_steps or every_seconds or every_epochs):
        raise ConfigError(
            "a checkpoint_dir, and never a checkpoint", "every_steps, every_seconds or every_epochs", "give one"
        )
    config = CheckpointConfig(
        every_steps=every_steps, every_seconds=every_seconds, every_epochs=every_epochs, keep=keep
    )
    interrupt = Interrupt()
    interrupt.limit(time_limit, session.ends)
    return [*chosen, Checkpoints(Path(checkpoint_dir), config, interrupt)]


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
