"""What NVIDIA's management library tells of this node's GPUs, through nvidia-ml-py where that is installed.

Tested with a library that is pretended: no GPU was at hand.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Gpus:
    """All of a node's GPUs at one moment; None where the library does not tell.

    Attributes:
        percent: mean use.
        memory_gib: in use, added up.
        joules: since their driver was loaded, added up.
    """

    percent: float | None
    memory_gib: float | None
    joules: float | None


NONE = Gpus(None, None, None)


class Nvml:
    """Asks.

    Args:
        library: pynvml, or what answers as it does; None: imported, where there are GPUs.
        devices: folder of device files.
    """

    def __init__(self, library: Any = None, devices: Path = Path("/dev")) -> None:
        self._library, self._handles, self.absent = library, list[Any](), ""
        """`absent`: why nothing is told; empty where something is."""
        if library is None:
            if not list(devices.glob("nvidia[0-9]*")):
                self.absent = "no GPU"
                return
            try:
                self._library = importlib.import_module("pynvml")
            except ImportError:
                self.absent = "NVML is not asked without nvidia-ml-py"
                return
        try:
            self._library.nvmlInit()
            count = self._library.nvmlDeviceGetCount()
            self._handles = [self._library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        except self._library.NVMLError as error:
            self.absent = f"NVML: {error}"
            return
        self.absent = "" if self._handles else "NVML tells of no GPU"

    def read(self) -> Gpus:
        """As it is now."""
        if not self._handles:
            return NONE
        library = self._library
        used = self._each(lambda gpu: float(library.nvmlDeviceGetUtilizationRates(gpu).gpu))
        memory = self._each(lambda gpu: library.nvmlDeviceGetMemoryInfo(gpu).used / 2**30)
        joules = self._each(lambda gpu: library.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3)
        return Gpus(used and sum(used) / len(used), memory and sum(memory), joules and sum(joules))

    def _each(self, ask: Any) -> Any:
        """The answers of all GPUs; None where one does not know."""
        try:
            return [ask(gpu) for gpu in self._handles]
        except self._library.NVMLError:
            return None
