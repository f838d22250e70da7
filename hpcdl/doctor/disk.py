"""Room and speed where records go, and the memory that ranks of a node share."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from hpcdl.doctor.findings import Finding, failure, ok, warning
from hpcdl.doctor.here import Here

MIB, GIB = 2**20, 2**30
PROBE_MIB = 32
SLOW_MIB_S = 50
ROOM_GIB = 5.0
INODES = 10_000


@dataclass(frozen=True)
class Folder:
    """Where a folder is or would be, and what its file system offers."""

    wanted: Path
    place: Path
    """The folder itself, or the nearest that exists above it."""
    free_gib: float
    inodes: int | None
    """Files that may still be made; None where the file system does not count them."""
    kind: str
    """ext4, nfs4, lustre …; empty where Linux does not tell."""


def check(here: Here, out: Path) -> list[Finding]:
    """The disk's lines.

    Args:
        here: whose /proc/mounts and /dev/shm are read.
        out: the folder that records would go to; nothing is left in it.
    """
    place = nearest(out)
    if not place.is_dir():
        return [failure("run folder", f"{place} is no folder", "choose another --out"), *_shared(here)]
    try:
        folder = look(out, place, here.read("/proc/mounts"))
        speed = write_speed(place) if folder.free_gib * 1024 > 2 * PROBE_MIB else None
    except OSError as error:
        return [judge_error(out, place, error), *_shared(here)]
    return [judge_room(folder), *([judge_speed(speed, folder.kind)] if speed else []), *_shared(here)]


def nearest(path: Path) -> Path:
    """A path, or what exists above it."""
    full = path.expanduser().absolute()
    return next(each for each in (full, *full.parents) if os.path.lexists(each))


def look(wanted: Path, place: Path, mounts: str) -> Folder:
    """Asks the file system.

    Raises:
        OSError: it does not answer.
    """
    stat = os.statvfs(place)
    return Folder(
        wanted,
        place,
        stat.f_bavail * stat.f_frsize / GIB,
        stat.f_favail if stat.f_files else None,
        kind_of(place.resolve(), mounts),
    )


def kind_of(place: Path, mounts: str) -> str:
    """The file system's kind, as the deepest mount above a place has it."""
    rows = [line.split() for line in mounts.splitlines()]
    above = [(row[1].replace("\\040", " "), row[2]) for row in rows if len(row) > 2]
    fitting = [(len(point), kind) for point, kind in above if place.is_relative_to(point)]
    return max(fitting, default=(0, ""))[1]


def write_speed(place: Path) -> float:
    """MiB/s of a temporary file, on the disk and not only in memory; deleted again.

    Raises:
        OSError: nothing can be written there.
    """
    block = os.urandom(MIB)
    with tempfile.TemporaryFile(dir=place) as file:  # without a name where Linux can: gone, however this ends
        start = perf_counter()
        for _ in range(PROBE_MIB):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return PROBE_MIB / (perf_counter() - start)


def judge_error(wanted: Path, place: Path, error: OSError) -> Finding:
    """A folder that cannot be used."""
    where = wanted if wanted.expanduser().absolute() == place else f"{wanted} (nearest: {place})"
    return failure("run folder", f"{where}: {error.strerror}", "choose another --out, which you may write")


def judge_room(folder: Folder) -> Finding:
    """Free space and files."""
    there = folder.place == folder.wanted.expanduser().absolute()
    where = str(folder.wanted) if there else f"{folder.wanted}, to be made in {folder.place}"
    told = f"{where}: {folder.free_gib:,.1f} GiB free" + (f" on {folder.kind}" if folder.kind else "")
    if folder.inodes is not None and folder.inodes < INODES:
        return warning(
            "run folder", f"{told}, and room for {folder.inodes} files", "delete small files, or another --out"
        )
    if folder.free_gib < 0.1:
        return failure("run folder", told, "make room, or choose another --out")
    if folder.free_gib < ROOM_GIB:
        return warning(
            "run folder", told, "make room, or choose another --out: a model and its records take 1 GiB soon"
        )
    return ok("run folder", told)


def judge_speed(speed: float, kind: str) -> Finding:
    """Whether saving a model would hold ranks up."""
    told = f"{speed:,.0f} MiB/s, {PROBE_MIB} MiB to the disk"
    if kind in ("tmpfs", "ramfs"):
        return warning(
            "writing", f"{told}, which is memory: records are lost with the machine", "choose an --out on a disk"
        )
    if speed < SLOW_MIB_S:
        return warning("writing", told, "choose an --out on a faster file system, as the site's scratch")
    return ok("writing", told)


def _shared(here: Here) -> list[Finding]:
    place = here.file("/dev/shm")
    try:
        stat = os.statvfs(place)
    except OSError:
        return [judge_shared(None, 0)]
    return [judge_shared(stat.f_blocks * stat.f_frsize / GIB, stat.f_bavail * stat.f_frsize / GIB)]


def judge_shared(gib: float | None, free: float) -> Finding:
    """Ranks of a node share one copy of the data there, and MPI its messages."""
    mend = "docker run --shm-size=8g; in Kubernetes a medium: Memory volume; else mount -o remount,size=8g /dev/shm"
    if gib is None:
        return warning("/dev/shm", "not there: ranks of a node share data through the temporary folder", mend)
    told = f"{gib:,.1f} GiB, {free:,.1f} free"
    if gib < 1 or free < 0.5:
        full = "" if gib < 1 else "; delete what is left there"
        return warning("/dev/shm", f"{told}: small for data that ranks of a node share", mend + full)
    return ok("/dev/shm", told)
