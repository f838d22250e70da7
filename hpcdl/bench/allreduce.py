"""Sums over ranks by size, engine and compression: real starts, repeated, with rank counts and engines interleaved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpcdl.allreduce import ASKED, EXPECTED, PLAIN, SCHEMA, AllreduceResults, Asked, Sample, Start
from hpcdl.analysis.collectives import MODEL
from hpcdl.bench.allreduce_points import Key, fits, points
from hpcdl.bench.repetition import AGAIN
from hpcdl.launch.hosts import fullest, record
from hpcdl.launch.plan import Machine, Plan, plan_allreduce
from hpcdl.launch.run import run_ranks
from hpcdl.records import STARTS, append_event, dated, parse, read_json, write_json

WARMUP = 3
"""Calls of each size in each start that are dropped: the first traces TensorFlow's function."""
Done = Callable[[int, str], None]
"""(ranks, engine) of a start that has ended."""


@dataclass(frozen=True)
class Sums:
    """What is measured.

    Attributes:
        ranks: world sizes.
        bytes: of float32 values on each rank.
        engines: horovod, mpi or both; plain MPI and memory are always measured.
        compressions: none, fp16, bf16.
        repeats: starts of each engine on each number of ranks.
        calls: measured calls of each size in each start, at most.
        seconds: for those, at most.
    """

    ranks: tuple[int, ...]
    bytes: tuple[int, ...]
    engines: tuple[str, ...]
    compressions: tuple[str, ...]
    repeats: int
    calls: int
    seconds: float

    def starts(self) -> list[tuple[int, str]]:
        """(ranks, engine) of one repeat's starts, in order. One rank alone has nobody to sum with."""
        return [(ranks, name) for ranks in self.ranks for name in (PLAIN, *self.engines) if ranks > 1 or name == PLAIN]


def plans(sums: Sums, folder: Path, machine: Machine) -> list[Plan]:
    """The lines of the first repeat's starts."""
    return [_plan(sums, run_folder(folder, name, ranks, 0), ranks, name, machine) for ranks, name in sums.starts()]


def run_folder(folder: Path, engine: str, ranks: int, repeat: int) -> Path:
    """Where one start keeps its records."""
    return folder / "runs" / f"{engine}-{ranks}-{repeat + 1}"


def run_sums(
    sums: Sums,
    folder: Path,
    machine: Machine,
    environ: Mapping[str, str],
    command: Sequence[str],
    done: Done,
    *,
    overwrite: bool = False,
) -> AllreduceResults:
    """Measures every point `repeats` times and writes results.json; starts.jsonl tells how far it is.

    Args:
        sums: what to measure.
        folder: prepared and empty.
        machine: where it runs.
        environ: of this process.
        command: to repeat it, for the record.
        done: called after each start.
        overwrite: replace an earlier benchmark's records on hosts that do not see this folder.

    Raises:
        HpcdlError: what the first failing rank said, or how the ranks ended.
    """
    log = folder / STARTS
    append_event(log, dated({"event": "start", "starts": sums.repeats * len(sums.starts())}))
    found: dict[Key, list[Sample]] = {}
    environment: dict[str, Any] = {}
    for repeat in range(sums.repeats):
        for ranks, name in sums.starts():
            place = run_folder(folder, name, ranks, repeat)
            start = _start(sums, place, ranks, name, machine, environ, overwrite=overwrite)
            started = read_json(place / "launch.json", fix=AGAIN)["started"]
            for each in start.series:
                key = Key(each.engine, each.compression, ranks, len(set(start.hosts)), each.bytes)
                run = place.relative_to(folder).as_posix()
                sample = Sample(index=repeat, run=run, started=started, seconds=each.seconds)
                found.setdefault(key, []).append(sample)
            environment |= _environment(start, machine)
            append_event(log, dated({"event": "progress", "ranks": ranks, "engine": name}))
            done(ranks, name)
        # After every round: what was measured stays when a later start fails.
        results = AllreduceResults(
            schema=SCHEMA,
            model=MODEL,
            warmup_calls=WARMUP,
            points=points(found),
            fits=fits(found),
            environment=environment,
            command=list(command),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_json(folder / "results.json", results)
    append_event(log, dated({"event": "end"}))
    return results


def _start(
    sums: Sums, place: Path, ranks: int, name: str, machine: Machine, environ: Mapping[str, str], *, overwrite: bool
) -> Start:
    place.mkdir(parents=True)
    asked = Asked(
        ranks=ranks,
        bytes=list(sums.bytes),
        compressions=list(sums.compressions),
        warmup=WARMUP,
        calls=sums.calls,
        seconds=sums.seconds,
    )
    write_json(place / ASKED, asked)
    told = run_ranks(_plan(sums, place, ranks, name, machine), ASKED, place, machine, environ, overwrite=overwrite)
    return parse(Start, told, f"{place}/summary.json", EXPECTED, AGAIN)


def _plan(sums: Sums, place: Path, ranks: int, name: str, machine: Machine) -> Plan:
    """Every start has the threads that a rank has where a host is fullest, as in a scaling study."""
    most = max(fullest(machine.where, size) for size in sums.ranks)
    return plan_allreduce(place, ranks, name, machine, max(1, machine.topology.cores // most))


def _environment(start: Start, machine: Machine) -> dict[str, Any]:
    topology = machine.topology
    told = {
        "host": topology.host,
        "cpu": topology.model,
        "cores": topology.cores,
        "memory_gib": topology.memory_gib,
        "hosts": record(machine.where),
        "os": start.os,
        "versions": start.versions,
    }
    return told | ({"mpi": start.mpi} if start.mpi else {})
