"""From the command line's words to checked values, before anything starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hpcdl.config.engines import resolve
from hpcdl.config.load import load
from hpcdl.config.precision import settle
from hpcdl.config.schema import RunConfig
from hpcdl.errors import DataError
from hpcdl.launch.mpirun import find_mpirun
from hpcdl.launch.plan import Machine
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
    """Where the recipe's data are: --data, the recipe's path, HPCDL_DATA, ./data.

    Raises:
        DataError: not there.
    """
    from hpcdl.data.sources.registry import SOURCES, locate

    named = [("--data", option), ("data.path", config.data.path)]
    path = locate(config.data.source, named, search_places()).resolve()
    SOURCES[config.data.source].check(path)
    return path


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


def machine(ranks: int) -> Machine:
    """This machine; mpirun is looked for where several ranks need it.

    Raises:
        LaunchError: several ranks and no mpirun.
    """
    return Machine(
        topology=read_topology(),
        mpirun=find_mpirun(os.environ.get("PATH")) if ranks > 1 else None,
        root=is_root(),
        env={name: os.environ[name] for name in CHOSEN if name in os.environ},
    )
