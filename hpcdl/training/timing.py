"""Every step of this rank, timed, and written as it goes."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter
from typing import Self

HEADER = "step,images,step_seconds,input_seconds,communication_seconds\n"
FLUSH_SECONDS = 1.0


class StepTimes:
    """Appends a line a step to ranks/RANK.steps.csv, at most once a second.

    Args:
        path: the file.
        go_on: after what an earlier start of the run has written; steps that it lost come twice.
    """

    def __init__(self, path: Path, *, go_on: bool = False) -> None:
        going = go_on and path.exists()
        if going:  # a killed process may have left half a line
            whole = path.read_bytes()
            os.truncate(path, whole.rfind(b"\n") + 1)
        self._file = path.open("a" if going else "w", encoding="ascii")
        if not going:
            self._file.write(HEADER)
        self._flushed = perf_counter()

    def add(self, step: int, images: int, seconds: float, waited: float, communicated: float) -> None:
        """One step: images over all ranks; seconds in all, waiting for input, and in exposed communication."""
        self._file.write(f"{step},{images},{seconds:.7f},{waited:.7f},{communicated:.7f}\n")
        now = perf_counter()
        if now - self._flushed > FLUSH_SECONDS:
            self._file.flush()
            self._flushed = now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Writes what is left."""
        self._file.close()
