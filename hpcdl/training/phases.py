"""Training in phases: the classifier of a network first, for example, then the rest with a small rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras

from hpcdl.config.schema import Phase, RunConfig
from hpcdl.data.images import ImageSet
from hpcdl.models.weights import freeze, load_weights
from hpcdl.training.progress import Progress
from hpcdl.training.session import Session
from hpcdl.training.snapshot import restore
from hpcdl.training.timing import StepTimes
from hpcdl.training.trainer import NO_CARE, Care, Emit, Trainer, make_model


@dataclass(frozen=True)
class Start:
    """Where a run goes on.

    Attributes:
        path: of the checkpoint; the leader reads it.
        phase: number of the phase.
        done: summary of the phases before it.
        progress: of the phase.
    """

    path: Path
    phase: int
    done: dict[str, Any]
    progress: Progress


def train_phases(
    config: RunConfig,
    data: ImageSet,
    session: Session,
    times: StepTimes,
    emit: Emit,
    start: Start | None = None,
    care: Care = NO_CARE,
) -> tuple[Trainer, dict[str, Any]]:
    """Trains one phase after the other; each has an optimizer, a schedule and an order of its own.

    Args:
        config: the resolved recipe.
        data: the images.
        session: the ranks.
        times: where each step's seconds go.
        emit: gets each event.
        start: where to go on; None: at the beginning.
        care: see Care.

    Returns:
        The last phase's trainer, and its summary, with images, updates and seconds over all phases.

    Raises:
        CheckpointError: see `restore`.
        ConfigError: see `make_model`, `load_weights`, `freeze` and `Trainer`.
        Interrupted: a rank was asked to stop.
    """
    model: keras.Model = make_model(config, data)
    if config.model.weights and session.world.is_leader and start is None:  # the trainer gives its start to the others
        emit({"event": "weights", "from": config.model.weights, "left_out": load_weights(model, config.model.weights)})
    first, done = (start.phase, start.done) if start else (0, dict[str, Any]())
    for number, phase in list(enumerate(config.phases or [None]))[first:]:
        if phase:
            freeze(model, phase.trainable)
        own = start if number == first else None
        before = done.get("updates", 0)
        if care.keeper:
            care.keeper.begin(number, done, before + (own.progress.made if own else 0))
        trainer = Trainer(
            _of_phase(config, phase, number),
            data,
            session,
            times,
            emit,
            model,
            before,
            own.progress if own else None,
            partial(restore, own.path) if own and session.world.is_leader else None,
            care,
        )
        summary = trainer.train()
        done = summary | {key: summary[key] + done.get(key, 0) for key in ("images", "updates", "seconds")}
    return trainer, done


def _of_phase(config: RunConfig, phase: Phase | None, number: int) -> RunConfig:
    """The recipe of one phase."""
    if phase is None:
        return config
    train = config.train.model_copy(update={"epochs": phase.epochs, "seed": config.train.seed + number})
    optimizer = config.optimizer
    if phase.learning_rate is not None:
        optimizer = optimizer.model_copy(update={"learning_rate": phase.learning_rate})
    return config.model_copy(update={"train": train, "optimizer": optimizer})
