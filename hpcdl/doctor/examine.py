"""The sections in the order in which they are told; each is looked at when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hpcdl.data.sources.registry import Place
from hpcdl.doctor import containers, cores, data, disk, gpu, mpi, network, ranks, site, slurm, software
from hpcdl.doctor.findings import Finding, Section, failure
from hpcdl.doctor.here import Here
from hpcdl.errors import LaunchError
from hpcdl.launch.plan import Machine
from hpcdl.slurm.sites import Site
from hpcdl.software import installed


@dataclass(frozen=True)
class Asked:
    """What the command line wants to know."""

    out: Path
    places: Callable[[], Sequence[Place]]
    """Folders that may hold data sets."""
    root: bool
    ranks: int | None = None
    """To be started really; None starts none."""
    engine: str = "auto"
    machine: Callable[[int], Machine] | None = None
    """For ranks; raises LaunchError where they cannot start."""


class Examination:
    """Libraries are asked once, and only by what needs them."""

    def __init__(self, here: Here) -> None:
        self.here = here
        self.packages = installed()

    @cached_property
    def light(self) -> software.Said:
        """What MPI says, in a moment."""
        return software.inquire(self.here, "mpi")

    @cached_property
    def said(self) -> software.Said:
        """What TensorFlow and Horovod say besides, in a process of their own: seconds."""
        heavy = ("tensorflow", *(("horovod",) if "horovod" in self.packages else ()))
        return {**software.inquire(self.here, *heavy), **self.light}

    @cached_property
    def mpi(self) -> mpi.Found:
        """Launcher and libraries."""
        return mpi.find(self.here, self.said)

    def everything(self, asked: Asked) -> Iterator[Section]:
        """All sections but the site's; the ranks' last."""
        here = self.here
        themes: list[tuple[str, Callable[[], list[Finding]]]] = [
            ("Software", lambda: software.check(here, self.packages, self.said)),
            ("MPI", lambda: mpi.check(here, self.packages, self.said, self.mpi, asked.root)),
            ("Cores", lambda: cores.check(here, asked.ranks)),
            ("GPUs", lambda: gpu.check(here, self.packages, self.said, asked.ranks)),
            ("Network", lambda: network.check(here)),
            ("Slurm", lambda: slurm.check(here, self.mpi.libraries.get("mpi"))),
            ("Containers", lambda: containers.check(here, asked.root)),
            ("Disk", lambda: disk.check(here, asked.out)),
            ("Data", lambda: data.check(asked.places)),
        ]
        for title, look in themes:
            yield Section(title, tuple(look()))
        yield from self.ranks(asked)

    def site(self, described: Site, file: Path, own: Path | None) -> Section:
        """A site's description against this machine."""
        library = mpi.find(self.here, self.light).libraries.get("mpi") if described.mpi.start == "srun" else None
        return Section(f"Site {described.name}", tuple(site.check(self.here, described, file, own, library)))

    def ranks(self, asked: Asked) -> Iterator[Section]:
        """Really started ranks, where they are wanted."""
        if asked.ranks is None or asked.machine is None:
            return
        names = ranks.engines(asked.engine)
        found = self.mpi if "horovod" in names else mpi.find(self.here, self.light)
        try:
            start = ranks.starter(asked.machine(asked.ranks), self.here.environ)
        except LaunchError as error:
            yield Section("Ranks", (failure("mpirun", error.received, error.fix),))
            return
        yield Section("Ranks", tuple(ranks.check(asked.ranks, names, start, found)))
