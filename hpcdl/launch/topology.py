"""What this machine has, as far as this process may use it."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname

import psutil


@dataclass(frozen=True)
class Topology:
    """One node.

    Attributes:
        host: its name.
        cpus: logical processors that this process may run on.
        cores: whole cores' worth of time that it may use: not more than its control group allows.
        model: the processor's name.
        memory_gib: memory of the node.
    """

    host: str
    cpus: tuple[int, ...]
    cores: int
    model: str
    memory_gib: float


def read_topology() -> Topology:
    """Reads this node."""
    cpus = (
        tuple(sorted(os.sched_getaffinity(0)))
        if hasattr(os, "sched_getaffinity")
        else tuple(range(os.cpu_count() or 1))
    )
    return Topology(
        host=gethostname(),
        cpus=cpus,
        cores=usable_cores(len(cpus), psutil.cpu_count(logical=True), psutil.cpu_count(logical=False), cpu_quota()),
        model=_model(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
    )


def usable_cores(allowed: int, logical: int | None, physical: int | None, quota: float | None) -> int:
    """Cores that can compute at once: hardware threads of one core count once, and a quota counts.

    Args:
        allowed: logical processors in the affinity mask.
        logical: logical processors of the node.
        physical: cores of the node.
        quota: processors' worth of time that the control group grants, None without a limit.
    """
    threads_a_core = max(1, (logical or allowed) // (physical or logical or allowed))
    cores = max(1, allowed // threads_a_core)
    return max(1, min(cores, math.floor(quota))) if quota else cores


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Processors' worth of time of this control group (cgroup v2 `cpu.max`), None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
