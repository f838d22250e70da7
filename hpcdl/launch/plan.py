"""From a recipe or a script to the exact line that starts its ranks: pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcdl.config.checks import check_ranks
from hpcdl.config.schema import LaunchConfig, RunConfig
from hpcdl.launch.hosts import HERE, Allocation, Here, Listed, Where, fullest
from hpcdl.launch.mpirun import mpirun_argv
from hpcdl.launch.srun import srun_argv
from hpcdl.launch.topology import Topology
from hpcdl.launch.tuning import ONE_NODE, Tuning, network, tune


@dataclass(frozen=True)
class Plan:
    """What will be started."""

    argv: tuple[str, ...]
    ranks: int
    tuning: Tuning
    where: Where = HERE


@dataclass(frozen=True)
class Machine:
    """Where ranks will start."""

    topology: Topology
    """Of this machine; other hosts are taken to be like it."""
    mpirun: str | None
    """None where there is none; one rank needs none."""
    root: bool
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that the user has set already; they win over what is chosen."""
    where: Where = HERE


def plan_recipe(
    config: RunConfig, ranks: int, folder: Path, data: Path, machine: Machine, resume: str | None = None
) -> Plan:
    """The line that trains a recipe; `resume` is a checkpoint, or auto.

    Raises:
        ConfigError: more ranks than the recipe has micro-batches.
    """
    check_ranks(config, ranks)
    # -P: the ranks import what is installed, and nothing that happens to lie in the current folder.
    command = [
        sys.executable,
        "-P",
        "-m",
        "hpcdl",
        "train",
        str(folder / "config.yaml"),
        "--out",
        str(folder),
        "--data",
        str(data),
        "--prepared",
        *(["--resume", resume] if resume else []),
    ]
    return _plan(command, ranks, machine, config.launch, {})


def plan_script(
    script: Path,
    arguments: Sequence[str],
    ranks: int,
    engine: str,
    launch: LaunchConfig,
    machine: Machine,
    env: Mapping[str, str] | None = None,
) -> Plan:
    """The line that runs a user's script on every rank; `env` are variables for it.

    mpi4py.run ends all ranks when one leaves with an error, whatever way it leaves.
    """
    runner = ["-m", "mpi4py.run"] if ranks > 1 else []
    # Another host starts in its own working folder where it does not have this one.
    path = script.absolute() if isinstance(machine.where, Listed) else script
    command = [sys.executable, *runner, str(path), *arguments]
    return _plan(command, ranks, machine, launch, {"HPCDL_ENGINE": engine, **(env or {})})


def plan_probe(folder: Path, ranks: int, engine: str, machine: Machine) -> Plan:
    """The line that starts ranks as `hpcdl run` would, to sum once and say in `folder` what they saw."""
    command = [sys.executable, "-P", "-m", "hpcdl.training.probe", str(folder), engine]
    return _plan(command, ranks, machine, LaunchConfig(), {})


def plan_allreduce(folder: Path, ranks: int, engine: str, machine: Machine, threads: int) -> Plan:
    """The line that starts ranks, of so many threads each, which time sums as `folder` asks."""
    command = [sys.executable, "-P", "-m", "hpcdl.training.allreduce", str(folder), engine]
    return _plan(command, ranks, machine, LaunchConfig(threads=threads), {})


def _plan(command: Sequence[str], ranks: int, machine: Machine, launch: LaunchConfig, env: Mapping[str, str]) -> Plan:
    # One rank starts here without mpirun, unless its host was named.
    where = machine.where if ranks > 1 or isinstance(machine.where, Listed) else HERE
    tuning = tune(
        machine.topology,
        fullest(where, ranks),
        threads=None if launch.threads == "auto" else launch.threads,
        binding=None if launch.binding == "auto" else launch.binding,
        env={**_network(where, ranks), **env, **machine.env, **launch.env},
    )
    if ranks == 1 and isinstance(where, Here):
        argv = ["env", *[f"{name}={value}" for name, value in sorted(tuning.env.items())], *command]
    elif isinstance(where, Allocation) and where.pmi:
        argv = srun_argv(where.pmi, ranks, tuning, command, where)
    else:
        argv = mpirun_argv(machine.mpirun or "mpirun", ranks, tuning, command, as_root=machine.root, where=where)
    return Plan(tuple(argv), ranks, tuning, where)


def _network(where: Where, ranks: int) -> Mapping[str, str]:
    """What ranks are told of the network between them; on listed hosts also variables of this process."""
    if isinstance(where, Listed):
        return {**where.env, **network(where.interface)}
    return ONE_NODE if ranks > 1 and (isinstance(where, Here) or len(where.slots) == 1) else {}
