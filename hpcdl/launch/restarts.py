"""Starting again after a failure: from the newest checkpoint, ever more slowly, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import sleep
from typing import TypeVar

from hpcdl.errors import HpcdlError

Ended = TypeVar("Ended")
FIRST_SECONDS, LAST_SECONDS = 1.0, 60.0


@dataclass
class Restarts:
    """How many more there may be; those that got further do not count.

    Attributes:
        most: in a row without a newer checkpoint.
        made: in a row.
        update: of the newest checkpoint at the last failure.
    """

    most: int
    made: int = 0
    update: int = 0

    def after(self, update: int) -> float | None:
        """Seconds to wait before the next start; None: no more.

        Args:
            update: of the newest checkpoint now.
        """
        if update > self.update:
            self.made, self.update = 0, update
        if self.made >= self.most:
            return None
        self.made += 1
        return min(FIRST_SECONDS * 2.0 ** (self.made - 1), LAST_SECONDS)


def run_again(
    start: Callable[[bool], Ended],
    reached: Callable[[], int],
    most: int,
    tell: Callable[[str], None],
    wait: Callable[[float], None] = sleep,
) -> Ended:
    """Starts a run until it ends well, or may not be started again.

    Args:
        start: starts it, hears whether it is to go on, and answers how it ended.
        reached: the update of the newest checkpoint.
        most: restarts in a row without a newer checkpoint.
        tell: hears what failed, and what comes.
        wait: between two starts, in seconds.

    Raises:
        HpcdlError: the last failure; one that another start would meet again is the last.
    """
    restarts, again = Restarts(most, update=reached()), False
    while True:
        try:
            return start(again)
        except HpcdlError as error:
            update = reached()
            seconds = None if error.lasting else restarts.after(update)
            if seconds is None:
                raise
            told = f"restart {restarts.made} of {most} in {seconds:g} s, from update {update}"
            tell(f"failed: {error.received}\n{told}")
        wait(seconds)
        again = True
