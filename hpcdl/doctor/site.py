"""A site's description against the machine: its Slurm, its modules and this node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcdl.doctor import site_slurm
from hpcdl.doctor.findings import Finding, failure, ok, warning
from hpcdl.doctor.here import Here
from hpcdl.mpi import Mpi
from hpcdl.slurm.sites import SHIPPED, Site

MODULES = 'module -t avail "$0" 2>&1'


def check(here: Here, site: Site, file: Path, own: Path | None, library: Mpi | None) -> list[Finding]:
    """The site's lines.

    Args:
        here: a login node of the site; its Slurm is asked.
        site: the description.
        file: where it was read, for the mend.
        own: the user's folder of sites.
        library: the MPI that ranks load.
    """
    edit = str(file) if SHIPPED not in file.parents else f"a copy of {file} in {own or '~/.config/hpcdl/sites'}"
    return [
        judge_about(site),
        *site_slurm.check(here, site, edit, library),
        *_modules(here, site, edit),
        *judge_interface(site.interface, here.names("/sys/class/net"), edit),
        *judge_container(site, here.which(site.container.command) if site.container.command else None, edit),
        judge_start(site, here.which("mpirun")),
    ]


def judge_about(site: Site) -> Finding:
    """What its author says that nobody has tried."""
    unverified = site.about.unverified
    if unverified == "all":
        return ok("site", f"{site.about.title}; read from {site.about.source}, never run")
    rest = f"; not tried: {', '.join(unverified)}" if unverified else ""
    return ok("site", f"{site.about.title}{rest}")


def _modules(here: Here, site: Site, edit: str) -> list[Finding]:
    wanted = [*site.modules, *site.container_modules]
    if not wanted:
        return []
    if not any(here.environ.get(name) for name in ("LMOD_CMD", "MODULESHOME", "MODULEPATH")):
        told = f"{', '.join(wanted)}: this shell has no `module`"
        return [warning("modules", told, "run it in a login shell of the site (bash -l)")]
    found = []
    for name in wanted:
        answer = here.answer("bash", "-lc", MODULES, name)
        found.append(judge_module(name, "" if answer is None else answer.out + answer.err, edit))
    return found


def judge_module(name: str, listing: str, edit: str) -> Finding:
    """A module is there: its own name, or with a version, as `module -t avail` prints it."""
    names = [line.split("(")[0].strip().rstrip("/") for line in listing.splitlines()]
    if any(each == name or each.startswith(f"{name}/") for each in names):
        return ok("module", name)
    near = [each for each in names if each.startswith(name.split("/")[0])]
    mend = (
        f"change modules in {edit} to one of: {', '.join(near)}"
        if near
        else f"remove it from {edit}, or see `module avail`"
    )
    return failure("module", f"{name}, which `module avail` does not show", mend)


def judge_interface(name: str | None, names: Sequence[str], edit: str) -> list[Finding]:
    """On this node; a login node may have others than those that compute."""
    if name is None:
        return []
    if name in names:
        return [ok("interface", name)]
    mend = f"see on a node that computes: `srun ls /sys/class/net`; then change interface in {edit}"
    return [warning("interface", f"{name} is not on this node, which has {', '.join(names)}", mend)]


def judge_container(site: Site, found: str | None, edit: str) -> list[Finding]:
    """Its command is here, or comes with a module."""
    command = site.container.command
    if command is None:
        return []
    if found is not None:
        return [ok("container.command", found)]
    if site.container_modules:
        return [ok("container.command", f"{command}, which {', '.join(site.container_modules)} should bring")]
    mend = f"load its module, name that in container_modules of {edit}, or change container.command there to null"
    return [warning("container.command", f"no {command} on the PATH; --container would need it", mend)]


def judge_start(site: Site, mpirun: str | None) -> Finding:
    """How ranks start; an mpirun beside Python comes first, and is told among MPI's lines."""
    if site.mpi.start == "srun":
        return ok("mpi.start", f"srun --mpi={site.mpi.pmi}")
    return ok("mpi.start", "mpirun" + (f" ({mpirun} is on the PATH)" if mpirun else " beside Python, or of a module"))
