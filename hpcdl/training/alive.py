"""The watchdog of a fit."""

from __future__ import annotations

from typing import Any

import keras

from hpcdl.errors import StallError
from hpcdl.training.journal import complain
from hpcdl.training.running import running_fit
from hpcdl.training.watchdog import Watchdog


class Alive(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a rank in which nothing has happened for too long while it trains, with the stacks of all its threads.

    Args:
        seconds: to wait.
        rank: this rank.
    """

    def __init__(self, seconds: float, rank: int) -> None:
        super().__init__()
        self._seconds, self._rank = seconds, rank
        self._watchdog: Watchdog | None = None
        self._epoch = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.on_train_end()  # of an earlier fit that an exception has ended
        setting, works = "hpcdl.callbacks(stall_timeout=…)", running_fit(self.model)
        self._watchdog = Watchdog(self._seconds, self._tell, setting, "this output", works)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch + 1
        self._beat(f"the begin of epoch {self._epoch}")

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._beat(f"the begin of batch {batch + 1} of epoch {self._epoch}")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._beat(f"batch {batch + 1} of epoch {self._epoch}")

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._beat(f"batch {batch + 1} of an evaluation")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._watchdog:
            self._watchdog.stop()
            self._watchdog = None

    def _beat(self, done: str) -> None:
        if self._watchdog:
            self._watchdog.beat(done)

    def _tell(self, error: StallError) -> None:
        complain(f"error on rank {self._rank}\n{error}")
