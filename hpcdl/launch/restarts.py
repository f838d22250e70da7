"""Starting again after a failure: from the newest checkpoint, ever more slowly, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

from hpcdl.checkpoint import latest_update
from hpcdl.errors import HpcdlError
from hpcdl.launch.folder import reopen

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
    start: Callable[[str | None], dict[str, Any]],
    folder: Path,
    most: int,
    tell: Callable[[str], None],
    resume: str | None = None,
    wait: Callable[[float], None] = sleep,
) -> dict[str, Any]:
    """Starts a run until it ends well, or may not be started again.

    Args:
        start: starts it, from a checkpoint, or auto, or None for the beginning; answers its summary.
        folder: of the run.
        most: restarts in a row without a newer checkpoint.
        tell: hears what failed, and what comes.
        resume: for the first start.
        wait: between two starts, in seconds.

    Raises:
        HpcdlError: the last failure; one that another start would meet again is the last.
    """
    restarts = Restarts(most, update=latest_update(folder / "checkpoints"))
    while True:
        try:
            return start(resume)
        except HpcdlError as error:
            update = latest_update(folder / "checkpoints")
            seconds = None if error.lasting else restarts.after(update)
            if seconds is None:
                raise
            told = f"restart {restarts.made} of {most} in {seconds:g} s, from update {update}"
            tell(f"failed: {error.received}\n{told}")
        wait(seconds)
        reopen(folder)
        resume = "auto"
