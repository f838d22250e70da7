"""From the command line's words to checked values, before anything starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpcdl.config.engines import resolve
from hpcdl.config.load import load
from hpcdl.config.precision import settle
from hpcdl.config.same import differences, refuse
from hpcdl.config.schema import RunConfig
from hpcdl.errors import ConfigError, DataError, LaunchError
from hpcdl.launch import folder as folders
from hpcdl.launch.hostcheck import check_hosts, still_there
from hpcdl.launch.hosts import (
    HERE,
    Listed,
    Where,
    allocation,
    check_interface,
    forwarded,
    launched_by,
    offered,
    parse_hosts,
    parse_ssh,
)
from hpcdl.launch.mpirun import find_mpirun
from hpcdl.launch.plan import Machine
from hpcdl.launch.supervisor import inherited
from hpcdl.launch.topology import is_root, read_topology
from hpcdl.launch.tuning import CHOSEN
from hpcdl.models.registry import check as check_model


def recipe(config: str, overrides: Sequence[str], ranks: int, engine: str = "auto", *, here: bool = True) -> RunConfig:
    """The resolved recipe; --engine wins over the recipe's own.

    Args:
        config: name or file.
        overrides: key=value.
        ranks: the world size.
        engine: of --engine.
        here: it runs on this machine; elsewhere, what depends on the processor is left to the ranks.

    Raises:
        ConfigError: a key, value, model or engine is not usable.
    """
    if engine != "auto":
        resolve(engine, ranks)
        overrides = [*overrides, f"engine.name={engine}"]
    resolved = load(config, overrides)
    check_model(resolved.model.name)
    resolve(resolved.engine.name, ranks)
    return settle(resolved, bfloat16=read_topology().bfloat16) if here else resolved


def data_path(config: RunConfig, option: str | None) -> Path:
    """Where the recipe's data are: --data, the recipe's path, HPCDL_DATA, ./data; nowhere with data.synthetic.

    Raises:
        DataError: not there.
    """
    from hpcdl.data.images import MEMORY
    from hpcdl.data.sources.registry import SOURCES, locate

    if config.data.synthetic:
        return Path(MEMORY)
    named = [("--data", option), ("data.path", config.data.path)]
    path = locate(config.data.source, named, search_places()).resolve()
    SOURCES[config.data.source].check(path)
    return path


def has_data(config: RunConfig) -> bool:
    """Whether any of the places that hold any data set holds the recipe's; one that it names itself must.

    Raises:
        DataError: HPCDL_DATA names nothing.
    """
    from hpcdl.data.sources.registry import locate

    places = search_places()
    try:
        return bool(config.data.path or locate(config.data.source, [], places))
    except DataError:
        return False


def search_places() -> list[tuple[str, str | None]]:
    """Folders that may hold any data set: HPCDL_DATA, then ./data.

    Raises:
        DataError: HPCDL_DATA names nothing.
    """
    told = os.environ.get("HPCDL_DATA")
    if told and not Path(told).expanduser().exists():
        raise DataError(
            f"HPCDL_DATA={told}, which is not there", "a folder of data sets", "correct or unset HPCDL_DATA"
        )
    return [("HPCDL_DATA", told), ("./data", "data" if Path("data").is_dir() else None)]


def place(hosts: str | None, interface: str | None, launcher: str = "mpirun") -> Where:
    """Where ranks will run: on the hosts that are named, on the nodes of the Slurm job around us, or here.

    Args:
        hosts: of --hosts.
        interface: of --interface.
        launcher: of --launcher.

    Raises:
        ConfigError: a host, the interface or HPCDL_SSH is not usable.
        LaunchError: Slurm tells something else than numbers.
    """
    if hosts is None:
        if interface is not None:
            raise ConfigError(
                f"--interface {interface} without --hosts", "both", "add --hosts, or set OMPI_MCA_btl_tcp_if_include"
            )
        return launched_by(allocation(os.environ) or HERE, launcher)
    ssh = parse_ssh(os.environ.get("HPCDL_SSH"))
    listed = Listed(parse_hosts(hosts), ssh, check_interface(interface), forwarded(inherited(os.environ)))
    return launched_by(listed, launcher)


def wanted_ranks(ranks: int | None, where: Where) -> int:
    """-n; without it every slot of named hosts, and one rank elsewhere."""
    if ranks is not None:
        return ranks
    return sum(offered(where)) if isinstance(where, Listed) else 1


def needed(config: RunConfig, data: Path) -> dict[str, Path]:
    """What the ranks of a recipe read from files."""
    weights = Path(config.model.weights).absolute() if config.model.weights else data
    return {"data": data, **({"weights": weights} if weights.is_file() else {})}


def check(machine: Machine, paths: Mapping[str, Path]) -> None:
    """Asks named hosts whether they can take part, and tells what may cost time.

    Args:
        machine: with the hosts.
        paths: what ranks read, besides mpirun's own file.

    Raises:
        LaunchError: a host cannot be reached, or is not like this one.
    """
    if isinstance(machine.where, Listed) and machine.mpirun:
        needed = {"mpirun": Path(machine.mpirun).absolute(), **paths}
        for remark in check_hosts(machine.where, needed, os.environ):
            print(f"hpcdl: {remark}", file=sys.stderr)


def reopen(folder: Path, config: RunConfig) -> None:
    """Opens an earlier run's folder to go on in; nothing of it changes where the recipe is another.

    Raises:
        CheckpointError: it is.
        ConfigError: see `hpcdl.launch.folder.reopen`.
    """
    earlier = folder / "config.yaml"
    if earlier.is_file():
        refuse(folder, differences(load(str(earlier)).model_dump(mode="json"), config))
    folders.reopen(folder)


def remaining(machine: Machine) -> Machine:
    """A machine without the named hosts that do not answer any more.

    Raises:
        LaunchError: none does.
    """
    if not isinstance(machine.where, Listed):
        return machine
    left = still_there(machine.where, os.environ)
    for host in machine.where.hosts:
        if host not in left.hosts:
            print(f"hpcdl: host {host.name} does not answer, and is left out", file=sys.stderr)
    if not left.hosts:
        raise LaunchError("no host that answers", "at least one of --hosts", "see the network")
    return replace(machine, where=left)


def own_variables() -> dict[str, str]:
    """What the user has set of the variables that hpcdl would choose."""
    return {name: os.environ[name] for name in CHOSEN if name in os.environ}


def machine(ranks: int, where: Where = HERE) -> Machine:
    """This machine and where ranks will run; mpirun is looked for where it is needed.

    Raises:
        LaunchError: several ranks and no mpirun.
    """
    several = ranks > 1 or isinstance(where, Listed)
    topology = read_topology()
    if isinstance(where, Listed) and where.network:  # made hosts share this machine's cores, and have other names
        cores = max(1, topology.cores // len(where.hosts))
        topology = replace(topology, host=where.network.get("machine", topology.host), cores=cores)
    return Machine(
        topology=topology,
        mpirun=find_mpirun(os.environ.get("PATH")) if several else None,
        root=is_root(),
        env=own_variables(),
        where=where,
    )
