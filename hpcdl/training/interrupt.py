"""What asks a rank to stop in order: a signal, or a limit of time that comes near."""

from __future__ import annotations

import os
import signal
from time import monotonic
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
ONE_SECOND = 1.0
"""Launchers pass one signal on along several ways: what comes within a second is the same."""


class Interrupt:
    """Listens."""

    def __init__(self) -> None:
        self._began, self._limit = monotonic(), float("inf")
        self._heard: tuple[str, float] | None = None

    @property
    def asked(self) -> str | None:
        """Why to stop; None: go on."""
        if self._heard:
            return self._heard[0]
        return f"the time limit of {self._limit:,.0f} s" if monotonic() - self._began >= self._limit else None

    def limit(self, seconds: float | None) -> None:
        """Asks to stop so many seconds after the start; None: never."""
        self._limit = float("inf") if seconds is None else seconds

    def listen(self) -> None:
        """Hears signals from now on; a second one, more than a second later, leaves at once."""
        for number in SIGNALS:
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = monotonic()
        if self._heard is None:
            self._heard = (signal.Signals(number).name, now)
        elif now - self._heard[1] > ONE_SECOND:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
