"""What ends a rank that does nothing any more: where one is silent, all others wait for it in a collective."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic
from typing import Protocol

from hpcdl.errors import StallError

TICK_SECONDS = 1.0
LINGER_SECONDS = 3.0
"""Before the rank leaves: the others find out at nearly the same time, and each should have told where it stands."""
GRACE_SECONDS = 10.0
"""After which Python's own timer ends a rank whose threads cannot run, because a library holds the interpreter."""
REARM_SECONDS = 1.0
READING_SECONDS = 3600.0
"""That a data set may take, which gives no sign before it is read: a million files on a busy file server take long."""


class Beat(Protocol):
    """Hears of each sign of work."""

    def __call__(self, done: str, least: float = 0.0) -> None:
        """What was done last, and for how many seconds at least nothing else needs to follow."""


def unheard(done: str, least: float = 0.0) -> None:
    """Where nobody watches."""


class Watchdog:
    """Waits for signs of work; without one for too long, it writes every thread's stack to stderr and ends the rank.

    Args:
        seconds: to wait; null of a recipe: no watchdog is made.
        tell: hears why, before the rank ends.
        setting: where the user has set the seconds.
        logs: where the stacks go.
        works: whether the work that is watched is still under way; where not, this ends as after `stop`.
    """

    def __init__(
        self,
        seconds: float,
        tell: Callable[[StallError], None],
        setting: str = "train.stall_timeout",
        logs: str = "ranks/*.log",
        works: Callable[[], bool] = lambda: True,
    ) -> None:
        self._seconds, self._tell, self._setting, self._logs, self._works = seconds, tell, setting, logs, works
        self._last, self._done, self._armed = monotonic(), "the start", 0.0
        self._asleep, self._limit = 0.0, seconds
        self._over = Event()
        Thread(target=self._watch, name="watchdog", daemon=True).start()
        self.beat("the start")

    def beat(self, done: str, least: float = 0.0) -> None:
        """A sign of work: what was done last, and seconds that what comes now may take at least."""
        limit = max(self._seconds, least)
        rearm = limit != self._limit or monotonic() - self._armed > REARM_SECONDS
        self._last, self._limit, self._done, self._asleep = monotonic(), limit, done, 0.0
        if rearm:
            self._armed = self._last
            faulthandler.dump_traceback_later(limit + GRACE_SECONDS, exit=True)

    def stop(self) -> None:
        """The work is done."""
        self._over.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        before = monotonic()
        while not self._over.wait(min(TICK_SECONDS, self._seconds / 4)):
            now = monotonic()
            self._asleep, before = max(self._asleep, now - before - TICK_SECONDS), now
            if not self._works():
                self.stop()
                return
            if now - self._last < self._limit:
                continue
            # Stopped by a signal, and woken by the launcher that ends the ranks: this is the one that was waited for.
            stood = f"stood still itself for {self._asleep:.0f} s; " if self._asleep > self._seconds / 2 else ""
            error = StallError(
                f"{stood}nothing done for {self._limit:g} s; the last was {self._done}",
                f"a sign of work within {self._setting}",
                f"see the stacks in {self._logs}; raise {self._setting} if the work takes that long",
            )
            print(f"hpcdl: {error.received}", file=sys.stderr, flush=True)
            faulthandler.dump_traceback(all_threads=True)
            self._tell(error)
            self._over.wait(LINGER_SECONDS)
            os._exit(error.exit_code)
