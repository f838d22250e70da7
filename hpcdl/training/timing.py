"""Every step of this rank, timed, and written as it goes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Self

from hpcdl.records import STEP_PARTS
from hpcdl.training.journal import Journal, complain

HEADER = ",".join(["step", "images", *(f"{part}_seconds" for part in STEP_PARTS)]) + "\n"
COLUMNS = HEADER.count(",") + 1
FLUSH_SECONDS = 1.0


class StepTimes:
    """Appends a line a step to ranks/RANK.steps.csv, at most once a second; never in the way of training.

    Args:
        path: the file.
        go_on: after what an earlier start of the run has written; steps that it lost come twice. A file of another
            version is set aside.
    """

    def __init__(self, path: Path, *, go_on: bool = False) -> None:
        with suppress(OSError):
            if not go_on:
                path.write_text(HEADER, encoding="ascii")
            elif path.exists() and not path.read_bytes().startswith(HEADER.encode()):
                path.rename(path.with_suffix(".old.csv"))
                complain(f"{path} has the columns of another version, and is now {path.stem}.old.csv")
        self.made = 0
        """Steps since this start."""
        self._journal = Journal(path, HEADER)
        self._flushed = perf_counter()

    @property
    def lost(self) -> int:
        """Steps that are not in the file."""
        return self._journal.lost

    def add(self, step: int, images: int, *seconds: float) -> None:
        """One step: its number, images over all ranks, and the seconds of each of STEP_PARTS."""
        self._journal.add(f"{step},{images},{','.join(f'{each:.7f}' for each in seconds)}\n")
        self.made += 1
        now = perf_counter()
        if now - self._flushed > FLUSH_SECONDS:
            self._journal.flush()
            self._flushed = now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Writes what is left."""
        self._journal.flush()
