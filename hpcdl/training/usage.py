"""What the ranks of a node use while they train: asked once a second, by the first of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Self

import psutil

from hpcdl.training.journal import Journal
from hpcdl.training.nvml import Nvml
from hpcdl.training.rapl import Rapl

SECONDS = 1.0
HEADER = "time,steps,memory_gib,energy_joules,gpu_percent,gpu_memory_gib,gpu_joules\n"
"""Of ranks/RANK.usage.csv; a field is empty where the machine does not tell. Joules are counters."""


class Meters:
    """What this node tells of energy and GPUs."""

    def __init__(self, rapl: Rapl | None = None, nvml: Nvml | None = None) -> None:
        self._rapl, self._nvml = rapl or Rapl(), nvml or Nvml()

    @property
    def absent(self) -> list[str]:
        """What it does not tell, and why."""
        named = {"energy of processors": self._rapl.absent, "GPU": self._nvml.absent}
        return [f"{name}: {why}" for name, why in named.items() if why]

    def read(self) -> list[float | None]:
        """The values from energy_joules on."""
        gpus = self._nvml.read()
        return [self._rapl.joules(), gpus.percent, gpus.memory_gib, gpus.joules]


class Sampler:
    """Writes a line a second to ranks/RANK.usage.csv, from a thread that ends with the training.

    Args:
        path: the file.
        meters: of this node.
        processes: of its ranks.
        steps: how many were made.
        seconds: between two lines.
    """

    def __init__(
        self,
        path: Path,
        meters: Meters,
        processes: Sequence[int],
        steps: Callable[[], int],
        seconds: float = SECONDS,
    ) -> None:
        self._meters, self._steps, self._seconds = meters, steps, seconds
        self._journal = Journal(path, HEADER, tell=lambda told: None)  # the steps complain for both
        self._over = threading.Event()
        self._ranks = list[psutil.Process]()
        for process in processes:
            with suppress(psutil.Error):
                self._ranks.append(psutil.Process(process))
        self._thread = threading.Thread(target=self._watch, name="hpcdl-usage", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            last = self._over.wait(self._seconds)
            self._journal.add(self._line())
            self._journal.flush()
            if last:
                return

    def _line(self) -> str:
        memory = 0.0
        for rank in self._ranks:
            with suppress(psutil.Error):  # it may have ended
                memory += rank.memory_info().rss / 2**30
        told = ["" if value is None else f"{value:.4f}" for value in (memory or None, *self._meters.read())]
        return ",".join([f"{time():.3f}", str(self._steps()), *told]) + "\n"
