"""Lines for a file whose file system may refuse them for a while: a run goes on, and loses what it must."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from hpcdl.records import append_text

SECONDS = 60.0
LINES = 10_000


class Seldom:
    """Whether something that is true many times may be said again: once a minute.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock, self._said = clock, float("-inf")

    def due(self) -> bool:
        """Asks, and takes yes as said."""
        if self._clock() - self._said < SECONDS:
            return False
        self._said = self._clock()
        return True


def complain(told: str) -> None:
    """Says something on stderr, which may be a file on the very disk that is full."""
    with suppress(OSError):
        print(f"hpcdl: {told}", file=sys.stderr, flush=True)


class Journal:
    """Appends lines to a file; those that it does not take wait, and are written as soon as it does.

    A file that has vanished begins anew where its folder is there again. The folder is not made.

    Args:
        path: the file.
        header: what an empty file gets first.
        tell: hears, once a minute, that the file cannot be written, and once that it can again.
        clock: seconds.
        lines: so many may wait; more, and the oldest are lost.
    """

    def __init__(
        self,
        path: Path,
        header: str = "",
        tell: Callable[[str], object] = complain,
        clock: Callable[[], float] = monotonic,
        lines: int = LINES,
    ) -> None:
        self._path, self._header, self._tell, self._lines = path, header, tell, lines
        self._seldom = Seldom(clock)
        self._waiting: list[str] = []
        self._dropped = 0
        self.failure: OSError | None = None
        """Why lines wait."""

    @property
    def lost(self) -> int:
        """Lines that are not in the file, as it is now."""
        return self._dropped + len(self._waiting)

    def add(self, line: str) -> None:
        """Takes a line, with its end, for the next flush."""
        self._waiting.append(line)
        if len(self._waiting) > self._lines:
            del self._waiting[0]
            self._dropped += 1

    def flush(self) -> None:
        """Writes what waits, if the file system lets it."""
        if not self._waiting:
            return
        try:
            append_text(self._path, "".join(self._waiting), self._header)
        except OSError as error:
            self.failure = error
            if self._seldom.due():
                self._tell(f"{self._path} cannot be written: {why(error)}; training goes on, {self.lost} lines wait")
            return
        self._waiting.clear()
        if self.failure:
            self.failure = None
            self._tell(f"{self._path} is written again; {self._dropped} lines are lost")


def why(error: Exception) -> str:
    """The reason in a few words."""
    return (error.strerror if isinstance(error, OSError) else None) or (str(error).splitlines() or [repr(error)])[0]
