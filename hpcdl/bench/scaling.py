"""Throughput against the number of ranks: real runs, repeated, with the rank counts interleaved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from hpcdl.analysis.scaling import Point, measurements
from hpcdl.bench.repetition import AGAIN, read_repetition
from hpcdl.bench.study import Study, point_config
from hpcdl.launch.hosts import record
from hpcdl.launch.plan import Machine, Plan, plan_recipe
from hpcdl.launch.run import run_recipe
from hpcdl.records import SCHEMA, STARTS, Repetition, Results, append_event, dated, read_json, write_json

Done = Callable[[str, int, Repetition], None]


def plans(study: Study, folder: Path, data: Path, machine: Machine) -> dict[tuple[str, int], Plan]:
    """The line of each point's first start.

    Raises:
        ConfigError: a point whose ranks the recipe's batch cannot serve.
    """
    found = {}
    for mode in study.modes:
        for ranks in study.ranks:
            config = point_config(study, mode, ranks, machine.topology.cores, machine.where)
            found[mode, ranks] = plan_recipe(config, ranks, run_folder(folder, mode, ranks, 0), data, machine)
    return found


def run_folder(folder: Path, mode: str, ranks: int, repeat: int) -> Path:
    """Where one start of a point keeps its records."""
    return folder / "runs" / f"{mode}-{ranks}-{repeat + 1}"


def run_study(
    study: Study,
    folder: Path,
    data: Path,
    machine: Machine,
    environ: Mapping[str, str],
    command: Sequence[str],
    done: Done,
    *,
    overwrite: bool = False,
) -> Results:
    """Measures every point `repeats` times and writes results.json; starts.jsonl tells how far it is.

    One repetition goes over all points before the next begins, so that a machine that drifts
    does not look like a trend over ranks.

    Args:
        study: what to measure.
        folder: prepared and empty.
        data: folder or archive of the data set.
        machine: where it runs.
        environ: of this process.
        command: to repeat it, for the record.
        done: called after each start.
        overwrite: replace an earlier benchmark's records on hosts that do not see this folder.
    """

    def tell(event: str, **fields: int | float | str) -> None:
        append_event(folder / STARTS, dated({"event": event, **fields}))

    starts = count(1)
    tell("start", starts=study.repeats * len(study.modes) * len(study.ranks))
    found: dict[tuple[str, int], list[Repetition]] = {}
    for repeat in range(study.repeats):
        for mode in study.modes:
            for ranks in study.ranks:
                config = point_config(study, mode, ranks, machine.topology.cores, machine.where)
                place = run_folder(folder, mode, ranks, repeat)
                place.mkdir(parents=True)
                plan = plan_recipe(config, ranks, place, data, machine)
                run_recipe(plan, config, place, machine, environ, overwrite=overwrite)
                repetition = read_repetition(place, folder, repeat, study.warmup)
                found.setdefault((mode, ranks), []).append(repetition)
                tell("progress", start=next(starts), mode=mode, ranks=ranks, images_per_s=repetition.images_per_s)
                done(mode, ranks, repetition)
        # After every round: what was measured stays when a later start fails.
        results = Results(
            schema=SCHEMA,
            results=measurements([_point(study, point, machine, found[point], folder) for point in found]),
            environment=_environment(folder, found, machine),
            command=list(command),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            config=study.config.model_dump(mode="json"),
        )
        write_json(folder / "results.json", results)
    tell("end")
    return results


def _point(
    study: Study, point: tuple[str, int], machine: Machine, repetitions: Sequence[Repetition], folder: Path
) -> Point:
    mode, ranks = point
    config = point_config(study, mode, ranks, machine.topology.cores, machine.where)
    run = folder / repetitions[0].run
    return Point(
        engine=study.engine,
        ranks=ranks,
        nodes=len({timing.node for timing in repetitions[0].ranks}),
        mode=mode,
        recipe=study.config.name,
        input="synthetic" if read_json(run / "environment.json", fix=AGAIN)["synthetic"] else "real",
        global_batch=config.train.global_batch,
        micro_batch=config.train.micro_batch,
        threads=read_json(run / "launch.json", fix=AGAIN)["tuning"]["threads"],
        cores=machine.topology.cores * len({timing.node for timing in repetitions[0].ranks}),
        repetitions=tuple(repetitions),
    )


def _environment(
    folder: Path, found: Mapping[tuple[str, int], Sequence[Repetition]], machine: Machine
) -> dict[str, Any]:
    largest = max(found, key=lambda point: point[1])
    run = folder / found[largest][0].run
    environment = read_json(run / "environment.json", fix=AGAIN)
    tuning = read_json(run / "launch.json", fix=AGAIN)["tuning"]
    topology = machine.topology
    return {
        "host": topology.host,
        "cpu": topology.model,
        "cores": topology.cores,
        "hosts": record(machine.where),
        "memory_gib": topology.memory_gib,
        "os": environment["os"],
        "versions": environment["versions"],
        "data": environment["data"],
        "launch": {"threads": tuning["threads"], "binding": tuning["binding"], "env": tuning["env"]},
    }
