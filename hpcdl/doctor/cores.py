"""Cores, what limits them, and variables that make ranks fight for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hpcdl.doctor.findings import Finding, failure, ok, warning
from hpcdl.doctor.here import Here
from hpcdl.launch.topology import Topology, cpu_quota, read_topology
from hpcdl.launch.tuning import BETWEEN, THREADS

PINNING = ("OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY", "GOMP_CPU_AFFINITY")


def check(here: Here, ranks: int | None) -> list[Finding]:
    """The cores' lines, for this many ranks, or for two where nobody said."""
    topology, machine, environ = read_topology(), os.cpu_count() or 1, here.environ
    return [
        judge_cores(topology, machine, cpu_quota()),
        judge_load(os.getloadavg()[0], topology.cores),
        judge_memory(topology.memory_gib, memory_limit(here), ranks or topology.cores),
        *judge_threads(environ, topology.cores, ranks or 2),
        *judge_pinning(environ),
    ]


def judge_cores(topology: Topology, machine: int, quota: float | None) -> Finding:
    """Cores for ranks, and what takes some away.

    Args:
        topology: of this process.
        machine: logical processors of the machine.
        quota: processors' worth of time that a control group grants.
    """
    less = []
    if len(topology.cpus) < machine:
        less.append(f"{len(topology.cpus)} of the machine's {machine} processors are in the affinity mask")
    if quota is not None and quota < len(topology.cpus):
        less.append(f"the control group grants {quota:g} processors' time")
    told = "; ".join([f"{topology.cores} for ranks: {topology.model}", *less])
    if topology.bfloat16:
        told += "; has bfloat16"
    if less and topology.cores == 1:
        mend = "ask for more: --cpus-per-task of Slurm, --cpus of a container, taskset; bound by mpirun: --bind-to none"
        return warning("cores", told, mend)
    return ok("cores", told)


def judge_load(load: float, cores: int) -> Finding:
    """Others that compute here make timings lie."""
    if load >= cores + 1:
        told = f"{load:.1f} processes compute on {cores} cores now"
        return warning("load", told, "train when they are done; what is measured now is theirs too")
    return ok("load", f"{load:.1f}")


def memory_limit(here: Here) -> float | None:
    """GiB that this process's control group, or one above it, grants; None without a limit."""
    limits = []
    for line in here.read("/proc/self/cgroup").splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = f"/sys/fs/cgroup/{controllers}".rstrip("/")
        for group in (Path(own), *Path(own).parents):
            limits.append(here.read(f"{base}{group}/memory.max") or here.read(f"{base}{group}/memory.limit_in_bytes"))
    # Version 1 says "none" as a number near 2**63.
    found = [int(limit) / 2**30 for limit in limits if limit.isdigit() and int(limit) < 2**60]
    return min(found, default=None)


def judge_memory(machine: float, limit: float | None, ranks: int) -> Finding:
    """A rank with TensorFlow takes about 0.7 GiB before it has data.

    Args:
        machine: GiB of the node.
        limit: GiB of the control group, at which ranks are killed.
        ranks: that share them.
    """
    gib = min(machine, limit or machine)
    told = f"{gib:.1f} GiB, {gib / ranks:.1f} for each of {ranks} ranks"
    if limit is not None and limit < machine:
        told += f"; the machine has {machine:g}, the control group grants less"
    if gib / ranks < 1:
        return warning("memory", told, "use fewer ranks: each takes 0.7 GiB for TensorFlow alone")
    return ok("memory", told)


def judge_threads(environ: Mapping[str, str], cores: int, ranks: int) -> list[Finding]:
    """Thread counts that the user has set: they win over what hpcdl would choose."""
    found = []
    for name in (*THREADS, BETWEEN):
        value = environ.get(name)
        if not value:
            continue
        if not value.isdigit() or int(value) < 1:
            found.append(failure(name, f"{value!r} is no number of threads", f"unset {name}"))
        elif name != BETWEEN and int(value) > max(1, cores // ranks):
            told = f"{value}: {ranks} ranks would compute with {ranks * int(value)} threads on {cores} cores"
            found.append(warning(name, told, f"unset {name}: hpcdl gives each rank its share"))
        else:
            found.append(ok(name, f"{value}, set outside: it wins over hpcdl's choice"))
    return found


def judge_pinning(environ: Mapping[str, str]) -> list[Finding]:
    """OpenMP's own binding puts each rank's first thread on the same core."""
    names = [name for name in PINNING if environ.get(name) and environ[name].lower() != "false"]
    if not names:
        return []
    told = ", ".join(f"{name}={environ[name]}" for name in names)
    return [warning("pinning", f"{told}: may put every rank on the same cores", "unset " + " ".join(names))]
