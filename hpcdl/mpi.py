"""Whose MPI this is, by what it says of itself, and whose ranks a launcher can start: pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Version = tuple[int, ...]

FORMS = (
    # mpirun (Open MPI) 5.0.11 · Open MPI v5.0.11, package: … · mpirun.openmpi (OpenRTE) 4.1.4
    ("Open MPI", r"(?:Open MPI|OpenRTE)\)? v?(\d[\d.]*)"),
    ("PRRTE", r"PRRTE\)? v?(\d[\d.]*)"),
    ("Spectrum MPI", r"Spectrum MPI\)? v?(\d[\d.]*)"),
    # Intel(R) MPI Library for Linux* OS, Version 5.1.3 Build 20160601 … · Intel(R) MPI Library 2021.8 for Linux* OS
    ("Intel MPI", r"Intel\(R\) MPI Library.*?(?:Version |(?=\d{4}))(\d[\d.]*)"),
    ("MVAPICH", r"(?i)mvapich\d?(?: version\s*:\s*|-)v?(\d[\d.]*)"),
    ("Cray MPICH", r"CRAY MPICH version (\d[\d.]*)"),
    ("MPICH", r"(?:HYDRA build details:|MPICH)\s*Version:\s*(\d[\d.]*)"),
)
RELATIVES = {
    "PRRTE": "Open MPI",
    "Spectrum MPI": "Open MPI",
    "Intel MPI": "MPICH",
    "MVAPICH": "MPICH",
    "Cray MPICH": "MPICH",
}
"""Whose launcher speaks to whose library."""
PMIX_ACROSS = 4
"""Open MPI 4.1.4 with PMIx 4.2 has been seen to start ranks of Open MPI 5.0; with an older one nobody has tried."""
PLUGIN = re.compile(r"(?:mpi/)?(none|pmi2|openmpi|cray_shasta|pmix\w*)")
BEFORE_PLUGINS = re.compile(r"^.*(?: types are\.*| versions available:)|^(?:[\w.]+: )?(?:MPI: )?")


@dataclass(frozen=True)
class Mpi:
    """A library, or a launcher of ranks."""

    family: str
    """As it calls itself."""
    version: Version
    """Empty where it is not known."""
    path: str = ""

    @property
    def kin(self) -> str:
        """The family whose start-up protocol it speaks."""
        return RELATIVES.get(self.family, self.family)

    @property
    def name(self) -> str:
        """Open MPI 5.0.11."""
        return f"{self.family} {dotted(self.version)}".rstrip()

    def __str__(self) -> str:
        return f"{self.name} ({self.path})" if self.path else self.name


def read_mpi(text: str, path: str = "") -> Mpi | None:
    """The MPI that says this, as `mpirun --version` or MPI_Get_library_version does; None where it is not known."""
    for family, form in FORMS:
        if (version := read_version(form, text)) is not None:
            return Mpi(family, version, path)
    return None


def read_version(form: str, text: str) -> Version | None:
    """The version in a form's first group; `^` begins a line, and `.` is any character."""
    found = re.search(form, text, re.M | re.S)
    return tuple(int(part) for part in found[1].split(".") if part) if found else None


def dotted(version: Version) -> str:
    """5.0.11 from (5, 0, 11)."""
    return ".".join(map(str, version))


def read_plugins(text: str) -> tuple[str, ...]:
    """Names that `srun --mpi=` takes, in what `srun --mpi=list` prints; its form has changed over the years."""
    names: list[str] = []
    for line in text.splitlines():
        # A line with anything else is none of the list: errors name plugins too.
        words = [PLUGIN.fullmatch(word) for word in BEFORE_PLUGINS.sub("", line).replace(",", " ").split()]
        names += [word[1] for word in words if word and None not in words]
    return tuple(dict.fromkeys(names))


def meeting(launcher: Mpi, library: Mpi) -> Literal["meet", "alone", "maybe"]:
    """Whether ranks of a library learn from a launcher who they are; alone, each is rank 0 of 1.

    MPICH's relatives share a protocol, Open MPI's changed with its major versions. A newer launcher leaves ranks
    alone without a complaint (5.0.11 did those of 4.1.4); an older one may reach them, by PMIX_ACROSS.
    """
    if launcher.kin != library.kin:
        return "alone"
    if launcher.kin != "Open MPI":
        return "meet"
    if launcher.family != library.family:  # each counts its own versions
        return "maybe"
    if launcher.version[:1] == library.version[:1]:
        return "meet"
    return "alone" if launcher.family == "Open MPI" and launcher.version > library.version > () else "maybe"
