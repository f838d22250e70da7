"""Throughput against the number of ranks: real runs, repeated, with rank counts, engines and inputs interleaved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpcdl.analysis.scaling import Point, measurements
from hpcdl.bench.accuracy import Trained, read_trained, to_accuracy
from hpcdl.bench.repetition import AGAIN, read_repetition
from hpcdl.bench.resume import whole
from hpcdl.bench.study import ACCURACY, ALONE, Start, Study, start_config, starts
from hpcdl.errors import Interrupted
from hpcdl.launch.hosts import record
from hpcdl.launch.plan import Machine, Plan, plan_recipe
from hpcdl.launch.run import run_recipe
from hpcdl.records import SCHEMA, STARTS, Repetition, Results, append_event, dated, read_json, write_json

Done = Callable[[Start, Repetition | Trained, bool], None]
"""(a start, what came of it, whether it was measured before this call)."""
Key = tuple[str, str, str, int]
"""Mode, input, engine and ranks of a point's starts."""


def plans(study: Study, folder: Path, data: Mapping[str, Path], machine: Machine) -> dict[Start, Plan]:
    """The line of each point's first start.

    Raises:
        ConfigError: a point whose ranks the recipe's batch cannot serve.
    """
    firsts = [start for start in starts(study) if start.repeat == 0]
    return {start: _plan(study, start, run_folder(folder, start), data, machine) for start in firsts}


def run_folder(folder: Path, start: Start) -> Path:
    """Where one start keeps its records."""
    return folder / "runs" / start.name


def run_study(
    study: Study,
    folder: Path,
    data: Mapping[str, Path],
    machine: Machine,
    environ: Mapping[str, str],
    command: Sequence[str],
    done: Done,
    tell: Callable[[str], object] = lambda note: None,
    *,
    overwrite: bool = False,
) -> Results:
    """Makes every start that is not in the folder yet and writes results.json; starts.jsonl tells how far it is.

    Args:
        study: what to measure.
        folder: opened by `open_study`.
        data: folder or archive of the data set of each input.
        machine: where it runs.
        environ: of this process.
        command: to repeat it, for the record.
        done: called after each start.
        tell: hears notes, as of torn records.
        overwrite: replace an earlier benchmark's records on hosts that do not see this folder.

    Raises:
        HpcdlError: what the first failing rank said, or how the ranks ended.
    """

    def note(event: str, **fields: int | float | str) -> None:
        append_event(folder / STARTS, dated({"event": event, **fields}))

    every = starts(study)
    note("start", starts=len(every))
    found: dict[Key, list[Repetition]] = {}
    trained: dict[Start, Trained] = {}
    for number, start in enumerate(every, 1):
        place = run_folder(folder, start)
        before = whole(place, start.ranks)
        if not before:
            place.mkdir(parents=True)
            config = start_config(study, start, machine.topology.cores, machine.where)
            plan = _plan(study, start, place, data, machine)
            try:
                run_recipe(plan, config, place, machine, environ, overwrite=overwrite)
            except Interrupted as stopped:
                told = f"{stopped.received}, {number - 1} of {len(every)} starts made"
                raise Interrupted(
                    told, "the end of the study", "go on with the same command, and `bench scaling` with --resume"
                ) from None
        if start.mode == ACCURACY:
            ended = read_trained(place, folder, study.target or 0.0)
            trained[start] = ended
            done(start, ended, before)
            rate = read_json(place / "summary.json", fix=AGAIN)["images_per_s"]
        else:
            repetition = read_repetition(place, folder, start.repeat, study.warmup, tell)
            found.setdefault((start.mode, start.input, start.engine, start.ranks), []).append(repetition)
            done(start, repetition, before)
            rate = repetition.images_per_s
        note("progress", start=number, mode=start.mode, ranks=start.ranks, engine=start.engine, images_per_s=rate)
        # After every round: what was measured stays when a later start fails.
        if number == len(every) or every[number].repeat > start.repeat:
            results = _results(study, folder, found, trained, machine, command)
            write_json(folder / "results.json", results)
    note("end")
    return results


def _results(
    study: Study,
    folder: Path,
    found: Mapping[Key, Sequence[Repetition]],
    trained: Mapping[Start, Trained],
    machine: Machine,
    command: Sequence[str],
) -> Results:
    points = [
        _point(study, Start(mode, source, alone, ranks, 0), engine, machine, found[mode, source, alone, ranks], folder)
        for mode in study.modes
        for source in study.inputs
        for engine in study.engines
        for ranks in study.ranks
        if (mode, source, alone := engine if ranks > 1 else ALONE, ranks) in found
    ]
    return Results(
        schema=SCHEMA,
        results=measurements(points),
        accuracy=to_accuracy(study, trained),
        environment=_environment(folder, found, machine),
        command=list(command),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=study.config.model_dump(mode="json"),
    )


def _plan(study: Study, start: Start, place: Path, data: Mapping[str, Path], machine: Machine) -> Plan:
    config = start_config(study, start, machine.topology.cores, machine.where)
    return plan_recipe(config, start.ranks, place, data[start.input], machine)


def _point(
    study: Study, start: Start, engine: str, machine: Machine, repetitions: Sequence[Repetition], folder: Path
) -> Point:
    config = start_config(study, start, machine.topology.cores, machine.where)
    run = folder / repetitions[0].run
    environment = read_json(run / "environment.json", fix=AGAIN)
    return Point(
        engine=engine,
        ranks=start.ranks,
        nodes=len({timing.node for timing in repetitions[0].ranks}),
        mode=start.mode,
        recipe=study.config.name,
        input="stand-in" if environment["synthetic"] and start.input == "real" else start.input,
        global_batch=config.train.global_batch,
        micro_batch=config.train.micro_batch,
        threads=read_json(run / "launch.json", fix=AGAIN)["tuning"]["threads"],
        cores=machine.topology.cores * len({timing.node for timing in repetitions[0].ranks}),
        epoch_images=None if start.input == "synthetic" else environment.get("epoch_images"),
        repetitions=tuple(repetitions),
    )


def _environment(folder: Path, found: Mapping[Key, Sequence[Repetition]], machine: Machine) -> dict[str, Any]:
    largest = max(found, key=lambda key: key[3])
    origins = {key[1]: folder / found[key][0].run for key in found}
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
        "data": "; ".join(
            dict.fromkeys(read_json(each / "environment.json", fix=AGAIN)["data"] for each in origins.values())
        ),
        "launch": {"threads": tuning["threads"], "binding": tuning["binding"], "env": tuning["env"]},
    }
