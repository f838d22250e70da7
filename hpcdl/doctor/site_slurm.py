"""A site's description against what its Slurm tells of nodes, limits, queues and accounts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcdl.doctor.findings import Finding, failure, ok, warning
from hpcdl.doctor.here import Here, last_line
from hpcdl.doctor.slurm import judge_plugins
from hpcdl.errors import ConfigError
from hpcdl.mpi import Mpi, read_plugins
from hpcdl.slurm.clock import format_time, parse_time
from hpcdl.slurm.sites import Node, Site

SINFO = ("sinfo", "-h", "-e", "-o", "%P|%l|%c|%m|%G|%D")
"""One line for nodes that are alike: partition (* marks the default), time limit, CPUs, MB, GRES, nodes."""
GPU = re.compile(r"gpu(?::(?P<kind>[A-Za-z][\w.-]*))?(?::(?P<count>\d+))?")


@dataclass(frozen=True)
class Nodes:
    """Alike nodes of one partition, as sinfo tells of them."""

    partition: str
    default: bool
    seconds: int | None
    """Longest job; None without a limit."""
    cpus: int
    memory_mb: int
    gpus: int
    gpu_kinds: tuple[str, ...]
    count: int


def check(here: Here, site: Site, edit: str, library: Mpi | None) -> list[Finding]:
    """Slurm's lines of a site.

    Args:
        here: whose Slurm is asked.
        site: the description.
        edit: what is to be edited, for the mend.
        library: the MPI that ranks load.
    """
    answer = here.answer(*SINFO)
    if answer is None or answer.code != 0:
        why = "there is none here" if answer is None else last_line(answer)
        told = f"{why}: only local lines could be checked"
        return [warning("Slurm", told, f"run `hpcdl doctor --site {site.name}` on a login node of the site")]
    nodes = read_nodes(answer.out)
    qos = here.answer("sacctmgr", "-n", "-P", "show", "qos", "format=name")
    known = qos.out.split() if qos is not None and qos.code == 0 else []
    plugins = here.answer("srun", "--mpi=list") if site.mpi.start == "srun" else None
    chosen = [row for row in nodes if (row.partition == site.ask.partition if site.ask.partition else row.default)]
    return [
        judge_partition(site.ask.partition, nodes, edit),
        *judge_nodes(site, chosen or nodes, edit),
        *judge_limits(site, chosen, edit),
        *judge_queues(site, {row.partition for row in nodes}, known, edit),
        *judge_account(site, here.environ, _accounts(here)),
        *([judge_pmi(site, read_plugins(plugins.out + plugins.err), library, edit)] if plugins else []),
    ]


def _accounts(here: Here) -> list[str]:
    user = here.environ.get("USER") or here.environ.get("LOGNAME")
    if not user:
        return []
    answer = here.answer("sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", "format=account")
    return sorted(set(answer.out.split())) if answer is not None and answer.code == 0 else []


def read_nodes(text: str) -> list[Nodes]:
    """Lines of SINFO; others are left out."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 6 or not parts[2].rstrip("+").isdigit():
            continue
        name, limit, cpus, memory, gres, count = parts
        gpus = [match for word in gres.split(",") if (match := GPU.match(word.strip()))]
        found.append(
            Nodes(
                partition=name.rstrip("*"),
                default=name.endswith("*"),
                seconds=_seconds(limit),
                cpus=int(cpus.rstrip("+")),
                memory_mb=int(memory.rstrip("+")),
                gpus=sum(int(match["count"] or 1) for match in gpus),
                gpu_kinds=tuple(match["kind"] for match in gpus if match["kind"]),
                count=int(count) if count.isdigit() else 0,
            )
        )
    return found


def _seconds(limit: str) -> int | None:
    try:
        return parse_time(limit)
    except ConfigError:  # infinite, n/a
        return None


def judge_partition(wanted: str | None, nodes: Sequence[Nodes], edit: str) -> Finding:
    """The partition is there; without one, Slurm has a default."""
    names = list(dict.fromkeys(row.partition for row in nodes))
    if not nodes:
        return failure("partition", "Slurm tells of none that you may use", "ask the admins for an account")
    if wanted is not None:
        if wanted in names:
            return ok("partition", wanted)
        mend = f"change ask.partition in {edit} to one of: {', '.join(names)}"
        return failure("partition", f"{wanted}, which Slurm does not have", mend)
    default = next((row.partition for row in nodes if row.default), None)
    if default is None:
        mend = f"set ask.partition in {edit} to one of: {', '.join(names)}"
        return failure("partition", "none named, and Slurm has no default", mend)
    return ok("partition", f"{default}, Slurm's default")


def judge_nodes(site: Site, nodes: Sequence[Nodes], edit: str) -> list[Finding]:
    """Cores, memory and GPUs of a node. More than the machine has makes jobs that never start."""
    if not nodes:
        return []
    most = max(nodes, key=lambda row: (row.gpus, row.cpus, row.memory_mb))
    return [
        *_cores(site.node, most, edit),
        *_memory(site.node, most, edit),
        *_gpus(site, most, edit),
    ]


def _cores(node: Node, row: Nodes, edit: str) -> list[Finding]:
    if node.cores is None:
        return []
    wanted, threads = node.cores * node.threads_per_core, node.threads_per_core
    told = f"{node.cores} cores" + (f" of {threads} hardware threads" if threads > 1 else "")
    has = f"Slurm counts {row.cpus} CPUs a node in {row.partition}"
    mend = f"change node.cores in {edit} to {row.cpus // threads}"
    if wanted > row.cpus:
        return [failure("node.cores", f"{told}; {has}", mend)]
    if wanted < row.cpus:
        extra = "" if row.cpus % wanted or threads > 1 else f", or node.threads_per_core to {row.cpus // wanted}"
        return [warning("node.cores", f"{told}; {has}: some would be left", mend + extra)]
    return [ok("node.cores", told)]


def _memory(node: Node, row: Nodes, edit: str) -> list[Finding]:
    if node.memory_gib is None:
        return []
    has, told = row.memory_mb / 1024, f"{node.memory_gib:g} GiB"
    if node.memory_gib > has:
        mend = f"change node.memory_gib in {edit} to {int(has)}" if has >= 1 else f"remove node.memory_gib from {edit}"
        return [failure("node.memory_gib", f"{told}; Slurm gives {has:.1f} GiB a node in {row.partition}", mend)]
    return [ok("node.memory_gib", f"{told} of {has:.1f}")]


def _gpus(site: Site, row: Nodes, edit: str) -> list[Finding]:
    found = []
    if site.node.gpus is not None:
        told, has = f"{site.node.gpus} a node", f"Slurm tells of {row.gpus} in {row.partition}"
        mend = f"change node.gpus in {edit} to {row.gpus}"
        if site.node.gpus > row.gpus:
            found.append(failure("node.gpus", f"{told}; {has}", mend))
        elif site.node.gpus < row.gpus:
            found.append(warning("node.gpus", f"{told}; {has}: some would be left", mend))
        else:
            found.append(ok("node.gpus", told))
    elif site.ask.gpus != "none" and not row.gpus:
        mend = f"change ask.gpus in {edit} to none, or ask.partition to one with GPUs"
        found.append(failure("ask.gpus", f"{site.ask.gpus}; Slurm tells of no GPU in {row.partition}", mend))
    kind = site.ask.gpu_type
    if kind is not None and row.gpus and kind not in row.gpu_kinds:
        mend = f"change ask.gpu_type in {edit} to " + (" or ".join(row.gpu_kinds) or "null")
        found.append(failure("ask.gpu_type", f"{kind}; Slurm knows {', '.join(row.gpu_kinds) or 'no types'}", mend))
    return found


def judge_limits(site: Site, nodes: Sequence[Nodes], edit: str) -> list[Finding]:
    """Longest job and most nodes: what the site promises, the partition must allow."""
    if not nodes:
        return []
    found, name = [], nodes[0].partition
    seconds, count = nodes[0].seconds, sum(row.count for row in nodes)
    if site.limits.time is not None:
        told = site.limits.time
        if seconds is not None and parse_time(told) > seconds:
            mend = f"change limits.time in {edit} to {format_time(seconds)!r}"
            found.append(failure("limits.time", f"{told}; {name} ends jobs after {format_time(seconds)}", mend))
        else:
            found.append(ok("limits.time", told))
    if site.limits.nodes is not None:
        told = str(site.limits.nodes)
        if site.limits.nodes > count:
            found.append(
                failure("limits.nodes", f"{told}; {name} has {count}", f"change limits.nodes in {edit} to {count}")
            )
        else:
            found.append(ok("limits.nodes", f"{told} of {count}"))
    return found


def judge_queues(site: Site, partitions: set[str], qos: Sequence[str], edit: str) -> list[Finding]:
    """Names of QOS and queues; without accounting nobody can tell of QOS."""
    found = []
    if site.ask.qos is not None:
        if not qos:
            found.append(
                warning("qos", f"{site.ask.qos}; Slurm tells of no QOS", "ask the admins, or `sbatch --test-only`")
            )
        elif site.ask.qos not in qos:
            mend = f"change ask.qos in {edit} to one of: {', '.join(qos)}"
            found.append(failure("qos", f"{site.ask.qos}, which Slurm does not have", mend))
        else:
            found.append(ok("qos", site.ask.qos))
    unknown = [name for name in site.queues if name not in partitions and name not in qos]
    if unknown:
        told = f"{', '.join(unknown)}: neither a partition nor a QOS that Slurm tells of"
        found.append(warning("queues", told, f"correct queues in {edit}"))
    return found


def judge_account(site: Site, environ: Mapping[str, str], accounts: Sequence[str]) -> list[Finding]:
    """Which accounts the user may charge, where the site wants one."""
    chosen = environ.get("SBATCH_ACCOUNT") or environ.get("SLURM_ACCOUNT")
    if chosen and accounts and chosen not in accounts:
        return [
            failure("account", f"{chosen}; yours are {', '.join(accounts)}", f"export SBATCH_ACCOUNT={accounts[0]}")
        ]
    if accounts:
        return [ok("account", f"{chosen} of {', '.join(accounts)}" if chosen else f"yours: {', '.join(accounts)}")]
    if site.account.required and not chosen:
        like = f", like {site.account.example}" if site.account.example else ""
        return [warning("account", f"the site wants one{like}", "give it with --account, or export SBATCH_ACCOUNT")]
    return []


def judge_pmi(site: Site, plugins: Sequence[str], library: Mpi | None, edit: str) -> Finding:
    """srun --mpi=… of the site is there, and lets ranks of this MPI know each other."""
    wanted = site.mpi.pmi
    if wanted not in plugins:
        mend = f"change mpi.start in {edit} to mpirun, or mpi.pmi to one of: {', '.join(plugins) or 'none'}"
        return failure("mpi.pmi", f"{wanted}; srun has {', '.join(plugins) or 'no plugins'}", mend)
    if not wanted.startswith("pmix"):
        fit = judge_plugins([wanted], library)
        if fit.state != "ok":
            return failure("mpi.pmi", fit.told, f"change mpi.pmi in {edit} to pmix, or mpi.start to mpirun")
    return ok("mpi.pmi", wanted)
