"""A recipe, trained on this rank of a world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpcdl.config.schema import RunConfig
from hpcdl.data.images import ImageSet
from hpcdl.data.order import Share, hold_out, layer_seeds, shares
from hpcdl.data.pipeline import Batches, image_shape
from hpcdl.data.stream import Batched
from hpcdl.engine.base import Engine
from hpcdl.errors import DivergenceError, Interrupted
from hpcdl.launch.topology import read_topology
from hpcdl.models.registry import build
from hpcdl.training.distribute import WIRES, broadcast_variables
from hpcdl.training.fused_normalization import fuse_normalization
from hpcdl.training.interrupt import Interrupt
from hpcdl.training.lars import LARS
from hpcdl.training.loss import cross_entropy
from hpcdl.training.meter import Meter
from hpcdl.training.muon import Muon
from hpcdl.training.optimizers import correct_momentum, make_optimizer
from hpcdl.training.pace import Pace
from hpcdl.training.progress import Progress
from hpcdl.training.replica import Replica, Stepped
from hpcdl.training.replicas import ReplicaCheck
from hpcdl.training.run_keeper import RunKeeper
from hpcdl.training.schedule import learning_rate
from hpcdl.training.session import Session
from hpcdl.training.stop import Stop
from hpcdl.training.timing import StepTimes
from hpcdl.training.views import views_of

Emit = Callable[[dict[str, Any]], None]
Restore = Callable[[keras.Model, keras.optimizers.Optimizer], None]
PROGRESS_SECONDS = 0.5
TEST_BATCH = 250


@dataclass(frozen=True)
class Care:
    """What keeps a run from losing anything."""

    keeper: RunKeeper | None = None
    """Writes checkpoints; on the leader."""
    interrupt: Interrupt | None = None
    """Asks this rank to stop."""
    beat: Callable[[str], None] = lambda done: None
    """Hears what was done last, each time that something was."""


NO_CARE = Care()


class Trainer:
    """Trains a recipe; every rank of the world makes one and calls `train`.

    Args:
        config: the resolved recipe.
        data: the images.
        session: the ranks that were joined.
        times: where each step's seconds go.
        emit: gets each event; the events of all ranks are alike but for their times.
        model: to go on with; None: a new one.
        before: updates that were made before, in other phases.
        progress: of this phase; None: none.
        restore: gives the model and the optimizer the values of `progress`; on the leader, which shares them.
        care: see Care.

    Raises:
        ConfigError: see `make_model` and `Batches`.
    """

    def __init__(
        self,
        config: RunConfig,
        data: ImageSet,
        session: Session,
        times: StepTimes,
        emit: Emit,
        model: keras.Model | None = None,
        before: int = 0,
        progress: Progress | None = None,
        restore: Restore | None = None,
        care: Care = NO_CARE,
    ) -> None:
        self._config, self._data, self._session, self._times, self._emit = config, data, session, times, emit
        self._before, self._progress, self._care = before, progress or Progress(), care
        train = config.train
        self.model = make_model(config, data) if model is None else model
        self._replica = make_replica(config, self.model, session.engine)
        optimizer = self._replica.optimizer
        self._base_rate = self._rate = float(optimizer.learning_rate.numpy())
        if restore:
            restore(self.model, optimizer)
        if self._progress.rate is not None:
            self._rate = self._progress.rate
        broadcast_variables(session.engine, [*self.model.variables, *optimizer.variables])
        self._correct = tf.function(lambda ratio: correct_momentum(optimizer, ratio))
        self._check = ReplicaCheck(session.engine, self.model.weights, train.check_every) if train.check_every else None
        threads = config.launch.threads
        workers = max(1, read_topology().cores // session.world.local_size) if threads == "auto" else threads
        whole, self._test = (
            Batches(data, split, config.data, train.micro_batch, workers) for split in (data.train, data.test)
        )
        self._train, self._validation = map(whole.only, hold_out(len(data.train), config.data.validation))
        self._shares = self._share(len(self._train), train.global_batch, train.micro_batch)
        self._pace = Pace(session.engine, train.steps_per_execution)
        everything = train.epochs * len(self._shares)
        self.updates = min(train.steps, everything) if train.steps else everything
        """Updates that `train` will make."""

    def train(self) -> dict[str, Any]:
        """Trains, and answers the summary: the last epoch's metrics, images/s over all training steps.

        Raises:
            Interrupted: a rank was asked to stop; what was learned is in a checkpoint, if any are kept.
            DivergenceError: the loss is not finite.
        """
        progress, epoch_updates = self._progress, len(self._shares)
        self._emit(
            {"event": "start", "updates": self.updates, "epoch_updates": epoch_updates, "origin": self._data.origin}
        )
        stop = Stop(self._config.train.patience, self._config.train.target, progress.waiting)
        began, before = perf_counter(), progress.seconds
        epoch, skip = divmod(progress.made, epoch_updates)
        batches = self._train.epochs(self._shares, self._config.train.seed, epoch, skip)
        while progress.stopped is None and (progress.made < self.updates or progress.epoch.images):
            self._epoch(batches, began, before)
            evaluated = self._evaluate(last=progress.made == self.updates)
            progress.logs = progress.epoch.means() | evaluated
            progress.seconds = before + perf_counter() - began
            number = progress.epochs + 1
            self._emit({"event": "epoch", "epoch": number, "update": progress.made, **progress.logs})
            if progress.made < number * epoch_updates:  # train.steps ends here; with more of them, this epoch goes on
                break
            progress.epochs, progress.epoch = number, Meter()
            progress.stopped = stop.after(progress.logs)
            self._care_for(evaluated)
        if self._check:
            self._check.compare(progress.made)
        whole = progress.whole
        summary = {
            **progress.logs,
            "images_per_s": whole.images / whole.seconds,
            "images": whole.images,
            "updates": progress.made,
            "seconds": progress.seconds,
            "allreduce_bytes": self._replica.allreduce_bytes(max(share.micros for share in self._shares)),
        }
        return summary | ({"stopped": progress.stopped} if progress.stopped else {})

    def finished(self) -> keras.Model:
        """The model with its optimizer and the optimizer's state, as plain Keras saves and loads it.

        An optimizer that is not Keras's own stays out, for the file could not be read without hpcdl.
        """
        optimizer = self._replica.optimizer
        if not isinstance(getattr(optimizer, "inner_optimizer", optimizer), LARS | Muon):
            self.model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
        return self.model

    def keep(self) -> None:
        """Writes a checkpoint of how training stands, if any are kept, and waits for it."""
        if self._care.keeper:
            logs = self._progress.logs
            self._keep(self._care.keeper, logs.get("validation_accuracy", logs.get("test_accuracy")), wait=True)

    def evaluate(self, batches: Batches) -> dict[str, float]:
        """Loss and accuracy over all of a split, each image once; the loss is the cross-entropy."""
        size = TEST_BATCH * self._session.world.size
        sums = np.zeros(3)
        parts = [part for part in self._share(len(batches), size, TEST_BATCH) if part.stop > part.start]
        for images, labels in batches.plain(parts):
            sums += self._replica.evaluate(images, labels).numpy()
            self._care.beat("a batch of an evaluation")
        loss, hits, count = self._session.engine.sum_array(sums).tolist()
        _check_finite(loss, "an evaluation")
        return {"loss": loss / count, "accuracy": hits / count}

    def _evaluate(self, *, last: bool) -> dict[str, float]:
        """What is evaluated after an epoch."""
        wanted = last if self._config.train.evaluate == "end" else self._config.train.evaluate
        splits = {"validation": self._validation, "test": self._test} if wanted else {}
        return {
            f"{name}_{metric}": value
            for name, batches in splits.items()
            if len(batches)
            for metric, value in self.evaluate(batches).items()
        }

    def _epoch(self, batches: Batched, began: float, before: float) -> None:
        """The updates that are left of an epoch."""
        progress, recent = self._progress, Meter()
        first = progress.epochs * len(self._shares)
        end = min(first + len(self._shares), self.updates)
        start, busy = perf_counter(), process_time()
        update = progress.made
        while update < end:
            count = self._at_once(update, first, end)
            part = self._shares[update - first]
            rates = [self._set_rate(each) for each in range(update, update + count)]
            seeds = [self._seeds(each - first, part) for each in range(update, update + count)]
            rows = self._replica.steps(
                batches, count, part, np.stack(seeds), np.array(rates, np.float32), stop=self._asked() is not None
            )
            now, used = perf_counter(), process_time()
            self._note(rows, update, now - start, used - busy)
            for each in (progress.epoch, recent, progress.whole):
                each.add(rows[:, :3], now - start)
            update += count
            if self._check:
                self._check.step(update)
            progress.made, progress.seconds, progress.rate = update, before + now - began, rates[-1]
            self._care.beat(f"update {self._before + update}")
            if recent.seconds > max(PROGRESS_SECONDS, progress.whole.seconds / 1000):
                self._emit({"event": "progress", "epoch": progress.epochs + 1, "update": update, **recent.means()})
                recent = Meter()
            start, busy = now, used
            if rows[:, 3].any():
                self._leave()
            if update < end:
                self._care_for()

    def _note(self, rows: npt.NDArray[np.float64], update: int, seconds: float, cpu: float) -> None:
        """Writes down the times of one call's updates, of which Python knows the whole: the first has what it cost."""
        later = np.diff(rows[:, -1]).tolist()
        for row, own in zip(rows.tolist(), [seconds - sum(later), *later], strict=True):
            done, update = Stepped(*row), update + 1
            _check_finite(done.loss, f"update {update}")
            parts = (own, done.waited, done.computed, done.communication, cpu * own / seconds)
            self._times.add(self._before + update - 1, int(done.images), *parts)
            self._pace.add(own)

    def _at_once(self, update: int, first: int, end: int) -> int:
        """How many updates the next call makes: alike ones, up to the next that a checkpoint waits for.

        The same on every rank, whatever its own shares are: between two calls the ranks talk in other ways too.
        """
        if self._config.schedule.momentum_correction:  # velocities change between two updates
            return 1
        whole = first + len(self._train) // self._config.train.global_batch
        most = min(self._pace.most, (whole if update < whole else end) - update, end - update)
        if every := self._config.checkpoint.every_steps:
            most = min(most, every - (self._before + update) % every)
        return most

    def _seeds(self, update: int, part: Share) -> npt.NDArray[np.uint32]:
        """Of random layers, see `layer_seeds`; `update` counts from the epoch's first."""
        rows = -(-(part.stop - part.start) // self._config.train.micro_batch)
        layers = self._replica.state.random_layers
        return layer_seeds(layers, self._config.train.seed, self._progress.epochs, update, part, rows)

    def _asked(self) -> str | None:
        return self._care.interrupt.asked if self._care.interrupt else None

    def _care_for(self, evaluated: Mapping[str, float] | None = None) -> None:
        """Keeps a checkpoint where one is due, after an update or, with what was evaluated, after an epoch."""
        keeper, epochs = self._care.keeper, self._progress.epochs if evaluated is not None else 0
        if keeper and keeper.due(self._before + self._progress.made, whole_epochs=epochs):
            known = evaluated or {}
            self._keep(keeper, known.get("validation_accuracy", known.get("test_accuracy")))

    def _keep(self, keeper: RunKeeper, score: float | None = None, *, wait: bool = False) -> None:
        update, optimizer = self._before + self._progress.made, self._replica.optimizer
        keeper.keep(update, lambda: keeper.snapshot(self.model, optimizer, self._progress), score, wait=wait)

    def _leave(self) -> None:
        """All ranks are here after the same update, because one of them was asked to stop."""
        reasons = self._session.engine.gather_objects(self._asked())
        if self._care.keeper:
            self._keep(self._care.keeper, wait=True)
        self._session.engine.barrier()
        rank, reason = next((rank, reason) for rank, reason in enumerate(reasons) if reason)
        where = f" on rank {rank}" if reasons.count(None) else ""
        update = self._before + self._progress.made
        raise Interrupted(
            f"{reason}{where}, and stopped after update {update}", "the end of training", "go on with --resume auto"
        )

    def _set_rate(self, update: int) -> float:
        """The learning rate of an update, and a velocity that fits it."""
        config = self._config
        rate = learning_rate(
            config.schedule, self._base_rate, config.train.global_batch, update, len(self._shares), self.updates
        )
        if rate != self._rate and config.schedule.momentum_correction:
            self._correct(tf.constant(rate / self._rate))
        self._rate = rate
        return rate

    def _share(self, samples: int, global_batch: int, micro_batch: int) -> list[Share]:
        return shares(samples, global_batch, micro_batch, self._session.world.rank, self._session.world.size)


def make_model(config: RunConfig, data: ImageSet) -> keras.Model:
    """The recipe's network, with the random start that its seed gives.

    Raises:
        ConfigError: there is no such network, or it does not fit the images.
    """
    keras.utils.set_random_seed(config.train.seed)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.mixed_precision.set_dtype_policy(config.train.precision)
    return fuse_normalization(make_network(config, data))


def make_network(config: RunConfig, data: ImageSet) -> keras.Model:
    """The recipe's network as its registry builds it, with a start of no meaning."""
    return build(config.model.name, image_shape(data.train, config.data), len(data.classes))


def make_replica(config: RunConfig, model: keras.Model, engine: Engine) -> Replica:
    """What computes and applies the recipe's updates of a model on one rank."""
    train = config.train
    optimizer = make_optimizer(config.optimizer, model)
    if train.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    engine.bucket_bytes = int(config.engine.bucket_mb * 2**20)
    return Replica(
        model,
        optimizer,
        engine,
        train.micro_batch,
        cross_entropy(train.label_smoothing),
        ordered=train.deterministic,
        wire=WIRES[config.engine.compression],
        views=views_of(train, model),
    )


def _check_finite(loss: float, where: str) -> None:
    """Stops where training has diverged; the loss is a sum over ranks, so every rank stops here."""
    if not np.isfinite(loss):
        raise DivergenceError(
            f"loss {loss} at {where}",
            "a finite loss",
            "lower optimizer.learning_rate, or lengthen schedule.warmup_epochs",
        )
