"""Where ranks run: this machine, hosts that are named, or what Slurm has allocated. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpcdl.errors import ConfigError, LaunchError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)
"""What becomes a word of ssh's argv and of mpirun's --host: no option, no address with colons, nothing for a shell."""
SSH = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=5")
"""No question that nobody answers, no wait of minutes. ssh takes the first value that it is given, so the
user's own come before these."""
FORWARDED = ("LD_LIBRARY_PATH", "PATH", "PYTHONHASHSEED", "PYTHONPATH", "VIRTUAL_ENV")
FORWARDED_PREFIXES: tuple[str, ...] = ("HPCDL_", "HOROVOD_", "KERAS_", "NCCL_", "OMP_", "UCX_", "XLA_")
# Not all of TF_: other programs keep passwords under it, and argv is for every user of a host to read.
FORWARDED_PREFIXES += tuple(f"TF_{kind}_" for kind in ("CPP", "CUDNN", "ENABLE", "FORCE", "GPU", "NUM", "USE", "XLA"))
AT_HOME = ("HPCDL_SSH",)
EXAMPLE = "for example --hosts node1:4,node2:4"


@dataclass(frozen=True)
class Host:
    """A machine that ssh reaches by its name, and how many ranks it takes."""

    name: str
    slots: int


@dataclass(frozen=True)
class Here:
    """This machine alone.

    Attributes:
        why: no other hosts take part, where some were wanted.
    """

    why: str | None = None


@dataclass(frozen=True)
class Listed:
    """Hosts that the user has named.

    Attributes:
        hosts: filled in this order.
        ssh: the words that start ssh, without a host.
        interface: the network interface that ranks talk through, on every host; None leaves it to MPI.
        env: variables of this process that ranks on other hosts need as well.
        network: what is known of the network that joins them, where hpcdl has made it on this one machine.
    """

    hosts: tuple[Host, ...]
    ssh: tuple[str, ...] = ("ssh", *SSH)
    interface: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    network: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Allocation:
    """The nodes of a Slurm job; mpirun learns their names from Slurm.

    Attributes:
        job: its number.
        slots: tasks of each node.
        cpus_per_task: as the job asked; None where it did not.
        pmi: srun starts the ranks, with this plugin, instead of mpirun.
    """

    job: str
    slots: tuple[int, ...]
    cpus_per_task: int | None = None
    pmi: str | None = None


Where = Here | Listed | Allocation
HERE = Here()


def parse_hosts(text: str) -> tuple[Host, ...]:
    """Hosts from "a:4,b:4"; a name without a number offers one slot, and one that comes twice adds up, as for mpirun.

    Raises:
        ConfigError: a name that is none, or no number of slots.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        name, colon, slots = part.strip().partition(":")
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"--hosts {text}, where {name!r} is no name of a host",
                "names of letters, digits, '.', '-' and '_' that ssh knows, with commas between",
                f"{EXAMPLE}; user names, ports and gateways belong into ~/.ssh/config",
            )
        if colon and not (slots.isascii() and slots.isdigit() and int(slots) > 0):
            raise ConfigError(
                f"--hosts {text}, where {name} has {slots!r} slots", "a whole number of ranks from 1", EXAMPLE
            )
        found[name] = found.get(name, 0) + (int(slots) if colon else 1)
    return tuple(Host(name, slots) for name, slots in found.items())


def parse_ssh(text: str | None) -> tuple[str, ...]:
    """The words that start ssh, from HPCDL_SSH; None is plain ssh.

    Raises:
        ConfigError: no words, or one that holds a space: mpirun takes the words apart at spaces, quoted or not.
    """
    try:
        words = tuple(shlex.split(text)) if text is not None else ("ssh",)
    except ValueError:  # a quote that does not end
        words = ()
    if not words or any(set(word) & set(" \t\n") for word in words):
        raise ConfigError(
            f"HPCDL_SSH={text}",
            "ssh and its options, none with a space in it",
            "for example HPCDL_SSH='ssh -F /home/me/ssh_config', or leave it out and use ~/.ssh/config",
        )
    return (*words, *SSH)


def check_interface(name: str | None) -> str | None:
    """The name of a network interface.

    Raises:
        ConfigError: it can be none.
    """
    if name is not None and not NAME.fullmatch(name):
        raise ConfigError(f"--interface {name}", "the name of a network interface", "see `ip link`; for example ib0")
    return name


def forwarded(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that decide how ranks find and run their programs; ssh takes none along."""

    def wanted(name: str) -> bool:
        return name in FORWARDED or (name.startswith(FORWARDED_PREFIXES) and name not in AT_HOME)

    return {name: value for name, value in environ.items() if wanted(name)}


def allocation(environ: Mapping[str, str]) -> Allocation | None:
    """The Slurm job that this process runs in, None outside of one.

    Raises:
        LaunchError: Slurm's variables say something else than numbers.
    """
    job = environ.get("SLURM_JOB_ID")
    nodes = environ.get("SLURM_JOB_NUM_NODES") or environ.get("SLURM_NNODES")
    if not job or not nodes:
        return None
    told = environ.get("SLURM_TASKS_PER_NODE", "")
    slots = parse_tasks(told) if told else (1,) * int(nodes) if nodes.isdigit() else ()
    if not slots or str(len(slots)) != nodes:
        raise LaunchError(
            f"Slurm job {job} with SLURM_JOB_NUM_NODES={nodes} and SLURM_TASKS_PER_NODE={told}",
            "tasks of each node, like 2(x3),1",
            "unset SLURM_JOB_ID to start ranks on this machine alone",
        )
    cpus = environ.get("SLURM_CPUS_PER_TASK", "")
    return Allocation(job, slots, int(cpus) if cpus.isdigit() else None)


def launched_by(where: Where, launcher: str) -> Where:
    """The same hosts, with their ranks started by mpirun or by srun.

    Args:
        where: from `allocation`, for srun.
        launcher: "mpirun", "srun" (with its plugin pmix) or "srun:PLUGIN".

    Raises:
        ConfigError: no such launcher, or srun outside of a Slurm job.
    """
    name, colon, plugin = launcher.partition(":")
    if launcher == "mpirun":
        return where
    if name != "srun" or (colon and not NAME.fullmatch(plugin)):
        raise ConfigError(f"--launcher {launcher}", "mpirun, srun or srun:PLUGIN", "for example --launcher srun:pmix")
    if not isinstance(where, Allocation):
        raise ConfigError(
            f"--launcher {launcher} outside of a Slurm job",
            "a job whose nodes srun can use",
            "`hpcdl submit`, or start it inside of salloc or sbatch",
        )
    return replace(where, pmi=plugin or "pmix")


def parse_tasks(text: str) -> tuple[int, ...]:
    """Tasks of each node from Slurm's "2(x3),1"; empty where it says something else."""
    slots: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part, re.ASCII)
        if not match:
            return ()
        slots += [int(match[1])] * int(match[2] or 1)
    return tuple(slots)


def offered(where: Listed | Allocation) -> tuple[int, ...]:
    """Slots of each host, in order."""
    return where.slots if isinstance(where, Allocation) else tuple(host.slots for host in where.hosts)


def evenly(where: Allocation, ranks: int) -> int | None:
    """Ranks a node where every node gets as many; None where they do not divide, or only some nodes have the slots."""
    each, rest = divmod(ranks, len(where.slots))
    crowded = each > min(where.slots) and ranks <= sum(where.slots)
    return None if rest or crowded or not each else each


def fullest(where: Where, ranks: int) -> int:
    """Ranks on the host that has most of them."""
    if isinstance(where, Here):
        return ranks
    if isinstance(where, Allocation) and (each := evenly(where, ranks)):
        return each
    slots = offered(where)
    if ranks > sum(slots):  # mpirun deals those that find no slot to all hosts
        return max(slots) + -(-(ranks - sum(slots)) // len(slots))
    return max(_filled(slots, ranks))


def describe(where: Where, here: str) -> str:
    """The hosts, for a person. `here` is this machine's name."""
    match where:
        case Listed():
            return ", ".join(host.name for host in where.hosts)
        case Allocation():
            nodes = len(where.slots)
            return f"{nodes} node{'' if nodes == 1 else 's'} of Slurm job {where.job}"
        case Here():
            return here


def record(where: Where) -> dict[str, Any]:
    """What launch.json keeps of the hosts."""
    match where:
        case Listed():
            slots = {host.name: host.slots for host in where.hosts}
            network = {"network": dict(where.network)} if where.network else {}
            return {"kind": "hosts", "slots": slots, "interface": where.interface, **network}
        case Allocation():
            return {"kind": "slurm", "job": where.job, "slots": list(where.slots)}
        case Here():
            return {"kind": "here", **({"why": where.why} if where.why else {})}


def _filled(slots: Sequence[int], ranks: int) -> list[int]:
    """Ranks of each host, filled in order."""
    taken = []
    for slot in slots:
        taken.append(min(slot, ranks))
        ranks -= taken[-1]
    return taken
