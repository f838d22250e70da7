"""From the command line's words to checked values, before anything starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from hpcdl.config.load import load
from hpcdl.config.schema import RunConfig
from hpcdl.errors import ConfigError
from hpcdl.launch.mpirun import find_mpirun
from hpcdl.launch.plan import Machine
from hpcdl.launch.supervisor import is_root
from hpcdl.launch.topology import read_topology
from hpcdl.models.registry import check as check_model

ENGINES = ("auto", "horovod", "mpi")


def recipe(config: str, overrides: Sequence[str], engine: str = "auto") -> RunConfig:
    """The resolved recipe; --engine wins over the recipe's own.

    Raises:
        ConfigError: a key, value, model or engine is not usable.
    """
    check_engine(engine)
    resolved = load(config, [*overrides, *([f"engine.name={engine}"] if engine != "auto" else [])])
    check_model(resolved.model.name)
    check_engine(resolved.engine.name)
    return resolved


def check_engine(name: str) -> None:
    """Refuses an engine that does not exist or is not installed."""
    if name not in ENGINES:
        raise ConfigError(f"--engine {name}", "one of: " + ", ".join(ENGINES), "use --engine auto")
    if name == "horovod" and not find_spec("horovod"):
        raise ConfigError(
            "--engine horovod, which is not installed",
            "the extra `horovod`",
            "pip install 'hpcdl[horovod]', or use --engine mpi",
        )


def engine_name(name: str, ranks: int) -> str:
    """What "auto" means here, for showing."""
    if ranks == 1:
        return "single"
    return name if name != "auto" else ("horovod" if find_spec("horovod") else "mpi")


def data_path(config: RunConfig, option: str | None) -> Path:
    """Where the recipe's data are: --data, the recipe's path, HPCDL_DATA, ./data.

    Raises:
        DataError: not there.
    """
    from hpcdl.data.sources import locate

    return locate(config.data.source, [("--data", option), ("data.path", config.data.path)], search_places()).resolve()


def search_places() -> list[tuple[str, str | None]]:
    """Folders that may hold any data set: HPCDL_DATA, then ./data."""
    return [("HPCDL_DATA", os.environ.get("HPCDL_DATA")), ("./data", "data" if Path("data").is_dir() else None)]


def machine(ranks: int) -> Machine:
    """This machine; mpirun is looked for where several ranks need it.

    Raises:
        LaunchError: several ranks and no mpirun.
    """
    return Machine(read_topology(), find_mpirun(os.environ.get("PATH")) if ranks > 1 else None, is_root())
