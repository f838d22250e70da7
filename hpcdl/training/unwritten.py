"""What the end of a run could not write: everything is tried, and then told in one error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpcdl.errors import CheckpointError
from hpcdl.training.journal import why


class Unwritten:
    """Collects.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, str] = {}

    def attempt(self, name: str, write: Callable[[], object]) -> None:
        """Writes something; a file system that refuses does not end the run before the rest was tried."""
        try:
            write()
        except OSError as error:
            self.add(name, error)

    def add(self, name: str, error: Exception | None) -> None:
        """Takes note of what could not be written; None: nothing."""
        if error:
            self._found[name] = why(error)

    def check(self) -> None:
        """Refuses to end as if all were well.

        Raises:
            CheckpointError: something is missing.
        """
        if not self._found:
            return
        told = "; ".join(f"{name} ({reason})" for name, reason in self._found.items())
        error = CheckpointError(
            f"could not be written in {self._folder}: {told}",
            "a folder that is there and can be written, with room in it",
            f"make room, then go on from the last whole checkpoint with --out {self._folder} --resume auto",
        )
        error.exit_code = 1
        raise error
