"""What ranks leave for a launcher on their host that may start them again."""

from __future__ import annotations

from pathlib import Path

from hpcdl.checkpoint import latest_update

VARIABLE = "HPCDL_TELL"
"""Names the folder in which they do."""


class Told:
    """The folders of a script's checkpoints, and whether another start would fail alike."""

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
        """Whether a rank has ended so."""
        return self._lasting.exists()
