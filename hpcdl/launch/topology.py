"""What this machine has, as far as this process may use it."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable
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
        bfloat16: its processors have instructions for it.
    """

    host: str
    cpus: tuple[int, ...]
    cores: int
    model: str
    memory_gib: float
    bfloat16: bool = False


def read_topology() -> Topology:
    """Reads this node."""
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    return Topology(
        host=gethostname(),
        cpus=cpus,
        cores=usable_cores(len(siblings(cpus)), cpu_quota()),
        model=_told("model name") or platform.machine(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        bfloat16=computes_bfloat16(_told("flags") or _told("Features")),
    )


def usable_cores(cores: int, quota: float | None) -> int:
    """Cores that can compute at once: those in the affinity mask, or fewer where a quota says so.

    Args:
        cores: in the affinity mask; hardware threads of one core count once.
        quota: processors' worth of time that the control group grants, None without a limit.
    """
    return max(1, min(cores, math.floor(quota))) if quota else max(1, cores)


def computes_bfloat16(flags: str) -> bool:
    """Whether a processor has instructions for bfloat16.

    Args:
        flags: what Linux tells of it: of AMX or AVX-512 on x86, of the Arm extension on aarch64.
    """
    return not {"amx_bf16", "avx512_bf16", "bf16"}.isdisjoint(flags.split())


def siblings(cpus: Iterable[int], root: Path = Path("/sys/devices/system/cpu")) -> set[str]:
    """The cores of logical processors, each named by its hardware threads, or by itself where Linux does not tell."""
    names = set()
    for cpu in cpus:
        try:
            names.add((root / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii").strip())
        except OSError:
            names.add(str(cpu))
    return names


def cpu_quota(cgroup: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Processors' worth of time that this control group or one above it grants; None without a limit."""
    limits = []
    for line in _text(cgroup).splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root if not controllers else root / controllers
        place = base / own.lstrip("/")
        for group in (place, *place.parents):
            if group == base.parent:
                break
            limits.append(_limit(_text(group / "cpu.max").split()))  # version 2
            limits.append(_limit([_text(group / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period")]))
    found = [limit for limit in limits if limit]
    return min(found) if found else None


def _limit(words: list[str]) -> float | None:
    """quota / period; "max" and -1 mean none."""
    if len(words) != 2 or not words[0].isdigit() or not words[1].isdigit():
        return None
    return int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _told(name: str) -> str:
    """What /proc/cpuinfo says of the first processor; empty where it says nothing."""
    lines = _text(Path("/proc/cpuinfo")).splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == name), "")


def is_root() -> bool:
    """True for the superuser."""
    return os.geteuid() == 0
