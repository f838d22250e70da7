"""Runs a script's ranks, and hears from rank 0 what it needs to start them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hpcdl.checkpoint import latest_update
from hpcdl.errors import LaunchError
from hpcdl.launch.plan import Plan
from hpcdl.launch.supervisor import STOPPED, inherited, run

VARIABLE = "HPCDL_TELL"
"""The folder in which rank 0 says what a launcher on the same host may want to know."""


class Told:
    """What rank 0 has said: the folders of its checkpoints, and whether another start would fail alike."""

    def __init__(self, folder: Path) -> None:
        self._kept, self._lasting = folder / "kept", folder / "lasting"

    def keeps(self, folder: Path) -> None:
        """Checkpoints are written there."""
        with self._kept.open("a", encoding="utf-8") as file:
            file.write(f"{folder}\n")

    def fails_for_good(self) -> None:
        """What ends this rank is a mistake that the user must mend."""
        self._lasting.touch()

    def reached(self) -> int:
        """Updates in the newest checkpoints of all folders; 0 where none is known."""
        lines = self._kept.read_text(encoding="utf-8").splitlines() if self._kept.exists() else []
        return sum(latest_update(Path(line)) for line in set(lines))

    @property
    def lasting(self) -> bool:
        """Whether the last start has ended so."""
        return self._lasting.exists()


def run_script(plan: Plan, environ: Mapping[str, str], tell: Callable[[str], None], told: Told | None = None) -> int:
    """Starts the ranks of a script and waits; answers 0, or STOPPED where they stopped in order.

    Args:
        plan: from plan_script.
        environ: of this process.
        tell: hears what a signal leads to.
        told: what rank 0 says.

    Raises:
        LaunchError: they ended otherwise; they have said why themselves.
    """
    code = run(plan.argv, inherited(environ), in_order=tell)
    if code in (0, STOPPED):
        return code
    error = LaunchError(f"the ranks ended with code {code}", "every rank to reach the end", "see what they said above")
    error.lasting = told is not None and told.lasting
    raise error
