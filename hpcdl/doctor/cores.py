"""Cores, what limits them, and variables that make ranks fight for them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hpcdl.doctor.findings import Finding, failure, ok, warning
from hpcdl.launch.topology import Topology, cpu_quota, read_topology
from hpcdl.launch.tuning import BETWEEN, THREADS

PINNING = ("OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY", "GOMP_CPU_AFFINITY")


def check(environ: Mapping[str, str], ranks: int | None) -> list[Finding]:
    """The cores' lines, for this many ranks, or for two where nobody said."""
    topology, machine = read_topology(), os.cpu_count() or 1
    return [
        judge_cores(topology, machine, cpu_quota()),
        judge_load(os.getloadavg()[0], topology.cores),
        judge_memory(topology.memory_gib, ranks or topology.cores),
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


def judge_memory(gib: float, ranks: int) -> Finding:
    """A rank with TensorFlow takes about 0.7 GiB before it has data."""
    told = f"{gib:g} GiB, {gib / ranks:.1f} for each of {ranks} ranks"
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
