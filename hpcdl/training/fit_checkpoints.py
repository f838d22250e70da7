"""Checkpoints of `model.fit`: a script that is started again goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from hpcdl import checkpoint
from hpcdl.config.schema import CheckpointConfig
from hpcdl.errors import CheckpointError, ConfigError, HpcdlError, Interrupted
from hpcdl.training.distribute import Hook, give_start, hook_of
from hpcdl.training.fit_snapshot import FitState, Position, give_metrics, metric_values, restore, take
from hpcdl.training.interrupt import Interrupt
from hpcdl.training.journal import Seldom, complain
from hpcdl.training.keeper import Keeper
from hpcdl.training.neighbors import Last, give_back, introduce, states
from hpcdl.training.running import running_fit
from hpcdl.training.session import Passes, current
from hpcdl.training.step import is_built

Logs = dict[str, Any]


class Checkpoints(Last):
    """Writes what a fit has learned, goes on from it, and leaves in order when it is asked to.

    Args:
        folder: of the checkpoints; only rank 0 needs to see it.
        config: when they are written.
        interrupt: asks this rank to stop.
    """

    def __init__(self, folder: Path, config: CheckpointConfig, interrupt: Interrupt) -> None:
        super().__init__()
        introduce()
        self._session = current()
        self._folder, self._interrupt = folder.absolute(), interrupt
        self._keeper = Keeper(self._folder, config, self._tell) if self._session.world.is_leader else None
        self._seldom = Seldom()
        self._position = Position(0)
        self._begun: list[int] = []
        self._passing = False
        self._initial: int | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._check()
        self._initial = self.model._initial_epoch
        self._begun = [each.next for each in self._session.passes]
        found = self._find()
        if found:
            self._go_on(found)
        else:
            self._position = Position(self._initial or 0)
        if self._keeper:
            self._keeper.start(self._position.drawn)
        self._interrupt.listen(running_fit(self.model))

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self._passing:
            return
        self._position = replace(self._position, epoch=epoch, steps=0, passes=self._passes())

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        if not self._passing and self._wanted():
            self._hook().vote.assign(1.0)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._passing:
            return
        steps, known = batch + 1, self.params.get("steps")
        steps = min(steps, known) if known else steps  # the last execution of several steps may have fewer
        before = self._position
        self._position = replace(before, steps=steps, drawn=before.drawn + steps - before.steps)
        if before.shard is None or before.steps == 0:
            self._find_shard()
        alone = self._session.world.size == 1
        if self._wanted() if alone else float(self._hook().vote.value) > 0:
            self._meet()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._passing = False
        before = self._position
        self._position = Position(epoch + 1, 0, before.drawn, shard=before.shard, kind=before.kind)
        if epoch + 1 == self.params["epochs"] or self.model.stop_training or not self._keeper:
            return  # on_train_end writes the last
        if self._keeper.due(before.drawn, whole_epochs=epoch + 1):
            self._position = replace(self._position, passes=self._passes())
            loss = (logs or {}).get("val_loss")
            self._keep(score=None if loss is None else -float(loss))

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._interrupt.leave()
        self.model._initial_epoch = self._initial
        if self._position.finished:  # before this fit
            return
        self._position = replace(
            self._position, finished=True, stopped=bool(self.model.stop_training), passes=self._passes()
        )
        if self._keeper:
            self._keep(wait=True)
            self._refuse_unwritten(self._keeper)

    def _passes(self) -> tuple[int, ...]:
        """How often each shard was read from its beginning in this fit."""
        return tuple(each.next - begun for each, begun in zip(self._session.passes, self._begun, strict=False))

    def _check(self) -> None:
        """Refuses what could not be kept, or not be found again.

        Raises:
            ConfigError: the model is not built, another callback does the same, or another fit uses the folder.
        """
        if not is_built(self.model):
            raise ConfigError(
                "a model without weights, with a checkpoint_dir",
                "a built model",
                "begin it with keras.Input(shape), or call it on a batch before fit: model(x[:1])",
            )
        if any(isinstance(each, keras.callbacks.BackupAndRestore) for each in self.others):
            raise ConfigError("BackupAndRestore and a checkpoint_dir", "one of them", "leave BackupAndRestore out")
        if self._folder in self._session.kept:
            raise ConfigError(
                f"a second fit with checkpoint_dir={self._folder}",
                "a folder for each fit, or it would take up the first one's end",
                "hpcdl.callbacks(checkpoint_dir=…/second), for example",
            )
        self._session.kept.add(self._folder)
        if self._session.told and self._session.world.is_leader:
            self._session.told.keeps(self._folder)

    def _find(self) -> FitState | None:
        """Restores the newest whole checkpoint on the leader, and answers its state on every rank.

        Raises:
            CheckpointError: it is of another model. On every rank.
        """
        told: FitState | HpcdlError | None = None
        if self._session.world.is_leader:
            try:
                told = self._restore()
            except HpcdlError as error:
                told = error
        found = self._session.engine.gather_objects(told)[0]
        if isinstance(found, HpcdlError):
            raise found
        if found:
            optimizer = self.model.optimizer
            if not optimizer.built:
                optimizer.build(self.model.trainable_variables)
            give_start(self.model, self._session)
        answer: FitState | None = found
        return answer

    def _restore(self) -> FitState | None:
        newest, refused = checkpoint.newest(self._folder)
        for path, why in refused.items():
            complain(f"{path} is not whole and was set aside: {'; '.join(why)}")
        if newest is None:
            return None
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        state = restore(newest.path, self.model)
        at = state.position
        if self._over(at):
            complain(f"{newest.path} is of a training that has ended, after {at.epoch} epochs: nothing is left to do")
        else:
            complain(f"goes on from {newest.path}: epoch {at.epoch + 1}, {at.steps} batches of it are made")
        return state

    def _over(self, at: Position) -> bool:
        return at.finished and (at.stopped or at.epoch >= self.params["epochs"])

    def _go_on(self, found: FitState) -> None:
        """Puts callbacks, data and Keras's loop where the checkpoint was."""
        at = found.position
        shards = self._session.passes
        if at.shard is not None and (at.shard >= len(shards) or shards[at.shard].kind != at.kind):
            raise CheckpointError(
                f"a checkpoint in {self._folder} whose data had {at.kind}",
                "the same data, made by the same calls of hpcdl.shard",
                "train on the data that it knows, or choose another checkpoint_dir",
            )
        drop = 0
        for number, (each, passes) in enumerate(zip(shards, at.passes, strict=False)):
            each.next += passes
            if number == at.shard:
                whole, drop = divmod(at.drawn, each.batches) if each.batches else (passes, at.steps)
                each.next = self._begun[number] + whole
        anew = give_back(self.others, found.callbacks)
        if anew and self._session.world.is_leader:
            complain(f"{', '.join(anew)}: not in the checkpoint, so begun anew")
        self._position = replace(at, finished=False, stopped=False)
        if self._over(at):
            self.model._initial_epoch = self.params["epochs"]
            self._position = at
            return
        self.model._initial_epoch = at.epoch
        if at.steps or drop:
            self._passing = at.steps > 0
            self.model.train_function = self._passing_over(at, drop, found)

    def _passing_over(self, at: Position, drop: int, found: FitState) -> Callable[[Any], Any]:
        """A train function that makes no step where the steps were made before, and then the model's own.

        The batches are read all the same, once, and dropped: whatever stands between the shard and fit goes on too.
        """
        model, plain = self.model, self.model.train_function
        at_once = model.steps_per_execution
        if at.steps % at_once and at.steps != self.params.get("steps"):
            raise CheckpointError(
                f"{at.steps} batches of an epoch made, and steps_per_execution={at_once}",
                "the steps_per_execution that the checkpoint was made with",
                "compile the model as before",
            )
        calls, first = -(-at.steps // at_once), True

        def train_function(iterator: Any) -> Any:
            nonlocal calls, first
            if first:
                first = False
                for _ in range(drop):
                    next(iterator)
                if at.steps:
                    model._symbolic_build(data_batch=iterator.element_spec)
                    world = self._session.world
                    give_metrics(model, found.metrics, world.rank, world.size)
            if calls == 0:
                self._passing = False
                model.train_function = plain
                return plain(iterator)
            calls -= 1
            answer = getattr(model.get_metrics_result, "hpcdl_plain", model.get_metrics_result)
            return dict(answer())

        return train_function

    def _hook(self) -> Hook:
        hook = hook_of(self.model.optimizer)
        if hook is None:  # JoinRanks has refused it already
            raise ConfigError("an optimizer of its own", "one from hpcdl.distribute", "hpcdl.distribute(optimizer)")
        return hook

    def _wanted(self) -> bool:
        """Whether this rank has a reason for all to meet after this batch."""
        return self._interrupt.asked is not None or bool(self._keeper and self._keeper.due(self._position.drawn))

    def _meet(self) -> None:
        """All ranks are here after the same batch."""
        self._hook().vote.assign(0.0)
        # Where an epoch ends, what its end decides belongs into the checkpoint: on_epoch_end or on_train_end writes it.
        ends = self._position.steps == self.params.get("steps")
        due = bool(self._keeper and not ends and self._keeper.due(self._position.drawn))
        told = self._session.engine.gather_objects((self._interrupt.asked, due, metric_values(self.model)))
        reasons = [reason for reason, _, _ in told]
        asked = any(reasons)
        if self._keeper and (asked or told[0][1]):
            self._keep([metrics for _, _, metrics in told], wait=asked)
        if asked:
            self._leave(reasons)

    def _keep(self, metrics: list[Any] | None = None, score: float | None = None, *, wait: bool = False) -> None:
        state = FitState(self._position, metrics or [], states(self.others))
        if self._keeper:
            self._keeper.keep(self._position.drawn, partial(take, self.model, state), score, wait=wait)

    def _leave(self, reasons: list[str | None]) -> None:
        if self._keeper:
            self._refuse_unwritten(self._keeper)
        self._session.engine.barrier()
        self._interrupt.leave()
        if not self._session.world.is_leader:
            raise SystemExit(0)  # launchers end all ranks at the first that leaves with another code
        rank, reason = next((rank, reason) for rank, reason in enumerate(reasons) if reason)
        where = f" on rank {rank}" if reasons.count(None) else ""
        at = self._position
        stopped = Interrupted(
            f"{reason}{where}, and stopped after batch {at.steps} of epoch {at.epoch + 1}",
            "the end of training",
            f"start the script again: it goes on from {self._folder}",
        )
        complain(f"stopped\n{stopped}")
        raise SystemExit(stopped.exit_code)

    def _refuse_unwritten(self, keeper: Keeper) -> None:
        if keeper.failure:
            error = CheckpointError(
                f"the last checkpoint could not be written in {self._folder}: {keeper.failure}",
                "a folder that can be written, with room in it",
                "make room, and start the script again: it goes on from the last whole checkpoint",
            )
            error.exit_code = 1
            raise error

    def _find_shard(self) -> None:
        """Which shard's data the first batch of an epoch has come from.

        Raises:
            ConfigError: from none; nobody could find the place in such data again.
        """
        shards: list[Passes] = self._session.passes
        before = self._position.passes
        begun = [*self._begun, *[0] * len(shards)]
        for number, each in enumerate(shards):
            if each.next - begun[number] > (before[number] if number < len(before) else 0):
                self._position = replace(self._position, shard=number, kind=each.kind)
                return
        if self._position.shard is None:
            raise ConfigError(
                "a checkpoint_dir, and data that do not come from hpcdl.shard",
                "data in which a place can be found again",
                "model.fit(hpcdl.shard((x, y), global_batch=…), …), also on one rank",
            )

    def _tell(self, event: dict[str, Any]) -> None:
        if event["event"] == "no_checkpoint" and self._seldom.due():
            complain(f"{self._folder} cannot be written: {event['error']}; training goes on")
