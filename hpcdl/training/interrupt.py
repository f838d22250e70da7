"""What asks a rank to stop in order: a signal, or a limit of time that comes near."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from time import monotonic, time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
NOTICE_SECONDS = 120.0
ONE_SECOND = 1.0
"""Launchers pass one signal on along several ways: what comes within a second is the same."""


class Interrupt:
    """Listens."""

    def __init__(self) -> None:
        self._began, self._limit = monotonic(), float("inf")
        self._heard: tuple[str, float] | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._works: Callable[[], bool] = lambda: True

    @property
    def asked(self) -> str | None:
        """Why to stop; None: go on."""
        if self._heard:
            return self._heard[0]
        return f"the time limit of {self._limit:,.0f} s" if monotonic() - self._began >= self._limit else None

    def limit(self, seconds: float | None, ends: float | None = None) -> None:
        """Asks to stop so many seconds after the start, and ahead of an end; None: never.

        Args:
            seconds: since this object was made.
            ends: as time.time() tells it; NOTICE_SECONDS before, or a tenth of what is left, if that is less.
        """
        left = float("inf") if ends is None else ends - time()
        job = monotonic() - self._began + left - min(NOTICE_SECONDS, left / 10)
        self._limit = min(float("inf") if seconds is None else seconds, job)

    def listen(self, works: Callable[[], bool] = lambda: True) -> None:
        """Hears signals from now on; a second one, more than a second later, leaves at once.

        Args:
            works: whether there is something to stop; where not, signals do what they did before.
        """
        self.leave()
        self._works = works
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._hear)

    def leave(self) -> None:
        """Hears no more: signals do what they did before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = monotonic()
        if not self._works():
            self.leave()
            os.kill(os.getpid(), number)
        elif self._heard is None:
            self._heard = (signal.Signals(number).name, now)
        elif now - self._heard[1] > ONE_SECOND:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
