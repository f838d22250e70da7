"""What a host or an image says of itself, asked with one shell line and read here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcdl.errors import ConfigError
from hpcdl.mpi import Mpi, Version, read_mpi, read_plugins, read_version

PYTHON = """
from importlib.metadata import PackageNotFoundError, version
for name in ("hpcdl", "tensorflow", "tensorflow-cpu", "keras", "mpi4py", "horovod"):
    try: print("package", name, version(name))
    except PackageNotFoundError: pass
try:
    import mpi4py
    mpi4py.rc.initialize = False
    from mpi4py import MPI
    print("library", MPI.Get_library_version().splitlines()[0])
except Exception as error: print("no-library", " ".join(str(error).split()))
"""
"""What the Python of an image has, and which MPI mpi4py loads there: the one that ranks would use."""

_SECTION = 'part() { echo; echo "=== $1"; shift; "$@" 2>&1; }; '
_BOTH = "part machine uname -m; part libc getconf GNU_LIBC_VERSION; part mpirun mpirun --version; part pmix pmix_info; "
# Open MPI 4 brings no pmix_info, but a rank's environment tells the version.
_RANK = "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun -np 1 env | grep ^PMIX_VERSION="
_HOST = f"command -v pmix_info >/dev/null || part rank sh -c '{_RANK}'; part srun srun --mpi=list; "
ASK_HOST = ["sh", "-c", _SECTION + _BOTH + _HOST + "part infiniband ls /sys/class/infiniband; :"]
ASK_IMAGE = ["sh", "-c", _SECTION + _BOTH + 'part python python3 -c "$0"; :', PYTHON]


@dataclass(frozen=True)
class Facts:
    """What is known of one side; None or empty is not known or not there."""

    machine: str | None = None
    """As in uname -m."""
    libc: Version | None = None
    """glibc's version."""
    launcher: Mpi | None = None
    """mpirun's."""
    library: Mpi | None = None
    """What mpi4py loads."""
    library_error: str | None = None
    """Why it loads none."""
    pmix: Version | None = None
    """PMIx's version, by which ranks and launcher talk."""
    prefix: str | None = None
    """Folder in which the host's MPI is installed."""
    plugins: tuple[str, ...] = ()
    """What srun --mpi=list names."""
    infiniband: bool = False
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions of Python packages."""
    labels: Mapping[str, str] = field(default_factory=dict)


def read_answer(text: str, *, prefix: str | None = None, labels: Mapping[str, str] | None = None) -> Facts:
    """What the answer to ASK_HOST or ASK_IMAGE says.

    Args:
        text: standard output.
        prefix: folder of the host's MPI.
        labels: the image's.
    """
    parts = {name.strip(): body for name, _, body in (part.partition("\n") for part in text.split("\n=== "))}
    python = parts.get("python", "")
    library = re.search(r"^library (.*)$", python, re.M)
    error = re.search(r"^no-library (.*)$", python, re.M)
    return Facts(
        machine=_machine(parts.get("machine", "")),
        libc=read_version(r"^glibc (\d[\d.]*)", parts.get("libc", "")),
        launcher=read_mpi(parts.get("mpirun", "")),
        library=read_mpi(library[1]) if library else None,
        library_error=error[1] if error else None,
        pmix=read_version(r"^\s*PMI[Xx]: (?:OpenPMIx )?v?(\d[\d.]*)", parts.get("pmix", ""))
        or read_version(r"^PMIX_VERSION=(\d[\d.]*)", parts.get("rank", "")),
        prefix=prefix,
        plugins=read_plugins(parts.get("srun", "")),
        infiniband=bool(re.search(r"^\w+\d+$", parts.get("infiniband", ""), re.M)),
        packages=dict(re.findall(r"^package (\S+) (\S+)$", python, re.M)),
        labels=labels or {},
    )


def read_labels(text: str) -> dict[str, str]:
    """Labels in what `apptainer inspect --json` prints.

    Raises:
        ConfigError: it is no such document.
    """
    try:
        document: Any = json.loads(text)
        labels = document["data"]["attributes"].get("labels") or {}
        return {str(name): str(value) for name, value in labels.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(
            "no labels from `apptainer inspect`", "an image of Apptainer or SingularityCE", "check the path"
        ) from None


def _machine(text: str) -> str | None:
    return text.split()[0] if text.split() else None
