"""When a checkpoint is due, and the thread that writes it while training goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

from hpcdl import checkpoint
from hpcdl.config.schema import CheckpointConfig
from hpcdl.training.journal import why

Emit = Callable[[dict[str, Any]], None]
Fill = Callable[[Path], None]
"""Writes a snapshot's files into a folder."""


class Keeper:
    """Writes checkpoints; on the leader alone, for the ranks are alike.

    What keeps it from writing is told as an event, and training goes on.

    Args:
        folder: of the checkpoints.
        config: when they are written.
        emit: gets an event for each that was written, or was not.
    """

    def __init__(self, folder: Path, config: CheckpointConfig, emit: Emit) -> None:
        self._folder, self._config, self._emit = folder, config, emit
        self._taken = (0, monotonic())
        self._written = 0
        self._thread: Thread | None = None
        self._news: list[dict[str, Any]] = []
        self.failure: Exception | None = None
        """Why the latest could not be written."""

    def start(self, update: int) -> None:
        """Training begins, or goes on, after so many updates in all."""
        self._taken = (update, monotonic())

    def due(self, update: int, *, whole_epochs: int = 0) -> bool:
        """Whether a checkpoint should be written now, and can be.

        Args:
            update: how many were made in all.
            whole_epochs: how many epochs were made, where one has just ended.
        """
        self._tell()
        if self._thread is not None:  # it still writes the last one
            return False
        steps, seconds, epochs = self._config.every_steps, self._config.every_seconds, self._config.every_epochs
        made, since = update - self._taken[0], monotonic() - self._taken[1]
        return bool(
            (steps and made >= steps)
            or (seconds and made and since >= seconds)
            or (epochs and whole_epochs and whole_epochs % epochs == 0)
        )

    def keep(self, update: int, take: Callable[[], Fill], score: float | None = None, *, wait: bool = False) -> None:
        """Takes a snapshot now, and writes it beside the training.

        Args:
            update: how many were made in all.
            take: copies what is to be written, so that later updates do not change it.
            score: accuracy, where it was measured here.
            wait: return when it is written.
        """
        self._finish()
        if self._written == update:
            return
        fill = take()
        self._taken = (update, monotonic())
        self._thread = Thread(target=self._write, args=(update, fill, score), name="checkpoint")
        self._thread.start()
        if wait:
            self._finish()

    def _write(self, update: int, fill: Fill, score: float | None) -> None:
        began = monotonic()
        try:
            written = checkpoint.write(self._folder, update, fill, score)
            checkpoint.prune(self._folder, self._config.keep)
        except Exception as error:  # OSError, or what HDF5 makes of it: whatever it is, training goes on
            self.failure = error
            self._news.append({"event": "no_checkpoint", "update": update, "error": why(error)})
        else:
            self.failure, self._written = None, update
            seconds = monotonic() - began
            self._news.append({"event": "checkpoint", "update": update, "name": written.path.name, "seconds": seconds})

    def _finish(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self._tell()

    def _tell(self) -> None:
        """Tells what the thread has done, from the thread that trains: records have one writer."""
        if self._thread is None or self._thread.is_alive():
            return
        self._thread.join()
        self._thread = None
        while self._news:
            self._emit(self._news.pop(0))
