"""The checkpoints of a recipe's run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras

from hpcdl.config.schema import CheckpointConfig
from hpcdl.training.keeper import Emit, Fill, Keeper
from hpcdl.training.progress import Progress
from hpcdl.training.snapshot import fill, take


class RunKeeper(Keeper):
    """Knows what a run's checkpoints say besides weights.

    Args:
        folder: of the checkpoints.
        config: when they are written.
        facts: what each says besides the progress: configuration, versions, world.
        build: makes a model of the same network, of which the thread writes the weights.
        emit: gets an event for each that was written, or was not.
    """

    def __init__(
        self,
        folder: Path,
        config: CheckpointConfig,
        facts: dict[str, Any],
        build: Callable[[], keras.Model],
        emit: Emit,
    ) -> None:
        super().__init__(folder, config, emit)
        self._facts, self._build = facts, build
        self._model: keras.Model | None = None
        self._phase: dict[str, Any] = {"phase": 0, "done": {}}

    def begin(self, phase: int, done: dict[str, Any], update: int) -> None:
        """A phase begins, or goes on.

        Args:
            phase: its number, from 0.
            done: what the summary says of the earlier ones.
            update: how many were made in all.
        """
        self._phase = {"phase": phase, "done": done}
        self.start(update)

    def snapshot(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, progress: Progress) -> Fill:
        """Copies how training stands.

        Args:
            model: which trains.
            optimizer: with its variables.
            progress: of the phase.
        """
        if self._model is None:
            self._model = self._build()
        state = {**self._facts, **self._phase, "progress": progress.as_dict()}
        return partial(fill, take(model, optimizer, state), self._model)
