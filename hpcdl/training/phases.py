"""Training in phases: the classifier of a network first, for example, then the rest with a small rate."""

from __future__ import annotations

from typing import Any

import keras

from hpcdl.config.schema import Phase, RunConfig
from hpcdl.data.images import ImageSet
from hpcdl.models.weights import freeze, load_weights
from hpcdl.training.session import Session
from hpcdl.training.timing import StepTimes
from hpcdl.training.trainer import Emit, Trainer, make_model


def train_phases(
    config: RunConfig, data: ImageSet, session: Session, times: StepTimes, emit: Emit
) -> tuple[Trainer, dict[str, Any]]:
    """Trains one phase after the other; each has an optimizer, a schedule and an order of its own.

    Returns:
        The last phase's trainer, and its summary, with images, updates and seconds over all phases.

    Raises:
        ConfigError: see `make_model`, `load_weights`, `freeze` and `Trainer`.
    """
    model: keras.Model = make_model(config, data)
    if config.model.weights and session.world.is_leader:  # the trainer gives its start to the other ranks
        emit({"event": "weights", "from": config.model.weights, "left_out": load_weights(model, config.model.weights)})
    done = dict[str, Any]()
    for number, phase in enumerate(config.phases or [None]):
        if phase:
            freeze(model, phase.trainable)
        trainer = Trainer(_of_phase(config, phase, number), data, session, times, emit, model, done.get("updates", 0))
        own = trainer.train()
        done = own | {key: own[key] + done.get(key, 0) for key in ("images", "updates", "seconds")}
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
