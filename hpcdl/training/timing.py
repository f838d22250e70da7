"""Every step of this rank, timed, and written as it goes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Self

from hpcdl.training.journal import Journal

HEADER = "step,images,step_seconds,input_seconds,communication_seconds\n"
COLUMNS = HEADER.count(",") + 1
FLUSH_SECONDS = 1.0


class StepTimes:
    """Appends a line a step to ranks/RANK.steps.csv, at most once a second; never in the way of training.

    Args:
        path: the file.
        go_on: after what an earlier start of the run has written; steps that it lost come twice.
    """

    def __init__(self, path: Path, *, go_on: bool = False) -> None:
        if not go_on:
            with suppress(OSError):
                path.write_text(HEADER, encoding="ascii")
        self._journal = Journal(path, HEADER)
        self._flushed = perf_counter()

    @property
    def lost(self) -> int:
        """Steps that are not in the file."""
        return self._journal.lost

    def add(self, step: int, images: int, seconds: float, waited: float, communicated: float) -> None:
        """One step: images over all ranks; seconds in all, waiting for input, and in exposed communication."""
        self._journal.add(f"{step},{images},{seconds:.7f},{waited:.7f},{communicated:.7f}\n")
        now = perf_counter()
        if now - self._flushed > FLUSH_SECONDS:
            self._journal.flush()
            self._flushed = now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Writes what is left."""
        self._journal.flush()
