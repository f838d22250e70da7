"""A machine as the doctor sees it, made of answers that programs really gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hpcdl.answer import Answer
from hpcdl.doctor import mpi
from hpcdl.doctor.findings import Finding
from hpcdl.doctor.here import Here
from hpcdl.errors import LaunchError
from hpcdl.mpi import Mpi

OPEN = Mpi("Open MPI", (5, 0, 11), "/venv/lib/libmpi.so.40")
OPEN_RUN = Mpi("Open MPI", (5, 0, 11), "/venv/bin/mpirun")
HYDRA_RUN = Mpi("MPICH", (5, 0, 2), "/usr/bin/mpirun")
HYDRA = "HYDRA build details:\n    Version:                                 5.0.2\n    Release Date:   Fri Sep 25\n"
FOUND = mpi.Found(OPEN_RUN, OPEN_RUN, {"mpi": OPEN, "horovod": OPEN})
NO_ACCOUNTING = Answer(
    1,
    "",
    "You are not running a supported accounting_storage plugin\nOnly 'accounting_storage/slurmdbd' is supported.\n",
)
NO_CONFIG = Answer(
    1,
    "",
    "sinfo: error: fetch_config: DNS SRV lookup failed\nsinfo: fatal: Could not establish a configuration source\n",
)
PLUGINS = (
    "MPI plugin types are...\n\tpmix\n\tnone\n\tcray_shasta\n\tpmi2\nspecific pmix plugin versions available: pmix_v4\n"
)
DOWN = "Slurmctld(primary) at vm is DOWN\n*****\n** RESTORE SLURMCTLD DAEMON TO SERVICE **\n*****\n"


def here(
    answers: Mapping[str, Answer] | None = None, root: Path = Path("/nothing"), environ: Mapping[str, str] | None = None
) -> Here:
    """A machine whose programs say what was recorded; the key is how a command line begins."""

    def ask(argv: Sequence[str], seconds: float) -> Answer:
        line = " ".join(argv)
        for start, answer in (answers or {}).items():
            if line.startswith(start):
                return answer
        raise LaunchError(f"{argv[0]}: No such file or directory", "a program", "check the path")

    return Here(environ or {}, ask, root)


def states(findings: Iterable[Finding]) -> dict[str, str]:
    return {each.name: each.state for each in findings}


def interface_files(root: Path, **speeds: str) -> None:
    for name, speed in speeds.items():
        folder = root / "sys/class/net" / name
        folder.mkdir(parents=True)
        (folder / "operstate").write_text("up" if speed else "down", encoding="ascii")
        (folder / "speed").write_text(speed, encoding="ascii")
