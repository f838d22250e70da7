"""The engines' names, and what "auto" means."""

from __future__ import annotations

from importlib.util import find_spec

from hpcdl.errors import ConfigError

ENGINES = ("auto", "horovod", "mpi", "single")


def resolve(name: str, size: int) -> str:
    """The engine that a name means for a world size: auto is Horovod where it is installed, mpi otherwise.

    Raises:
        ConfigError: no engine has that name, it is not installed, or "single" is to join several ranks.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine {name!r}", "one of: " + ", ".join(ENGINES), "use --engine auto")
    if name == "single" and size > 1:
        raise ConfigError(f"engine 'single' with {size} ranks", "horovod or mpi for several ranks", "use --engine auto")
    if name == "horovod" and not find_spec("horovod"):
        raise ConfigError("engine 'horovod', which is not installed", "Horovod to be installed", "use --engine mpi")
    if name != "auto":
        return name
    if size == 1:
        return "single"
    return "horovod" if find_spec("horovod") else "mpi"
