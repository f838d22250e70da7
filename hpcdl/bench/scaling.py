"""Throughput against the number of ranks: real runs, repeated, with the rank counts interleaved."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpcdl.analysis.scaling import Point, measurements
from hpcdl.config.schema import RunConfig
from hpcdl.errors import ConfigError, RecordError
from hpcdl.launch.plan import Machine, Plan, plan_recipe
from hpcdl.launch.run import run_recipe
from hpcdl.records import SCHEMA, RankTiming, Repetition, Results, read_json, write_json

MODES = ("weak", "strong", "both")
AGAIN = "measure again"
FOR_EVER = 1_000_000
"""Epochs of a benchmark run, which ends by its steps."""


@dataclass(frozen=True)
class Study:
    """What is measured.

    Attributes:
        config: the recipe.
        engine: the engine of the points with several ranks; one rank alone reduces nothing.
        ranks: world sizes.
        modes: "weak", "strong" or both.
        repeats: starts of each point.
        steps: measured steps of each start.
        warmup: steps before them, which are dropped.
    """

    config: RunConfig
    engine: str
    ranks: tuple[int, ...]
    modes: tuple[str, ...]
    repeats: int
    steps: int
    warmup: int


Done = Callable[[str, int, Repetition], None]


def parse_ranks(text: str) -> tuple[int, ...]:
    """World sizes from "1,2,4", sorted.

    Raises:
        ConfigError: not whole numbers from 1, or one twice.
    """
    try:
        ranks = sorted(int(part) for part in text.split(","))
    except ValueError:
        ranks = []
    if not ranks or ranks[0] < 1 or len(set(ranks)) != len(ranks):
        raise ConfigError(
            f"--ranks {text}", "different whole numbers from 1, with commas between", "for example --ranks 1,2,4"
        )
    return tuple(ranks)


def point_config(study: Study, mode: str, ranks: int, cores: int) -> RunConfig:
    """The recipe of one point.

    weak: each rank keeps one micro-batch an update, so the global batch grows with the ranks.
    strong: the global batch stays, and each rank has the same share of it, in equal micro-batches
    of at most the recipe's size.
    Either way a rank has the threads that it has at the largest world size, so that one rank is
    one rank's share of the machine.

    Raises:
        ConfigError: strong scaling with a global batch that the ranks do not divide.
    """
    train = study.config.train
    if mode == "weak":
        batch, micro = train.micro_batch * ranks, train.micro_batch
    else:
        if train.global_batch % ranks:
            raise ConfigError(
                f"strong scaling of global_batch {train.global_batch} on {ranks} ranks",
                "a global batch that every rank count divides",
                "set train.global_batch, or choose other --ranks",
            )
        batch, share = train.global_batch, train.global_batch // ranks
        micro = max(size for size in range(1, min(train.micro_batch, share) + 1) if share % size == 0)
    steps = {
        "global_batch": batch,
        "micro_batch": micro,
        "steps": study.warmup + study.steps,
        "epochs": FOR_EVER,
        "evaluate": False,
        "save": False,
    }
    threads = study.config.launch.threads
    if threads == "auto":
        threads = max(1, cores // max(study.ranks))
    return study.config.model_copy(
        update={
            "train": train.model_copy(update=steps),
            "launch": study.config.launch.model_copy(update={"threads": threads}),
            "engine": study.config.engine.model_copy(update={"name": study.engine if ranks > 1 else "auto"}),
        }
    )


def plans(
    study: Study, folder: Path, data: Path, machine: Machine, *, oversubscribe: bool
) -> dict[tuple[str, int], tuple[RunConfig, Plan]]:
    """The recipe and the line of each point, with its first repetition's folder.

    Raises:
        ConfigError: a point that the machine or the recipe has no place for.
    """
    found = {}
    for mode in study.modes:
        for ranks in study.ranks:
            config = point_config(study, mode, ranks, machine.topology.cores)
            plan = plan_recipe(
                config, ranks, run_folder(folder, mode, ranks, 0), data, machine, oversubscribe=oversubscribe
            )
            found[mode, ranks] = (config, plan)
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
    oversubscribe: bool,
) -> Results:
    """Measures every point `repeats` times and writes results.json.

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
        oversubscribe: allow more ranks than cores.
    """
    found: dict[tuple[str, int], list[Repetition]] = {}
    for repeat in range(study.repeats):
        for mode in study.modes:
            for ranks in study.ranks:
                config = point_config(study, mode, ranks, machine.topology.cores)
                place = run_folder(folder, mode, ranks, repeat)
                place.mkdir(parents=True)
                run_recipe(
                    plan_recipe(config, ranks, place, data, machine, oversubscribe=oversubscribe),
                    config,
                    place,
                    machine,
                    environ,
                )
                repetition = read_repetition(place, folder, repeat, study.warmup)
                found.setdefault((mode, ranks), []).append(repetition)
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
    return results


def read_repetition(run: Path, folder: Path, index: int, warmup: int) -> Repetition:
    """One start, from its run's records.

    Raises:
        RecordError: a rank's step times are missing or too few.
    """
    places = read_json(run / "environment.json", fix=AGAIN)["ranks"]
    launch = read_json(run / "launch.json", fix=AGAIN)
    tables = [_steps(run / "ranks" / f"{place['rank']}.steps.csv", warmup) for place in places]
    timings = [
        RankTiming(
            rank=place["rank"],
            host=place["host"],
            node=place["node"],
            local_rank=place["local_rank"],
            cpus=place["cpus"],
            step=[float(row["step_seconds"]) for row in table],
            input=[float(row["input_seconds"]) for row in table],
            communication=[float(row["communication_seconds"]) for row in table],
        )
        for place, table in zip(places, tables, strict=True)
    ]
    images = sum(int(row["images"]) for row in tables[0])
    seconds = max(sum(timing.step) for timing in timings)
    return Repetition(
        index=index,
        run=str(run.relative_to(folder)),
        started=launch["started"],
        warmup_steps=warmup,
        steps=len(tables[0]),
        seconds=seconds,
        images=images,
        images_per_s=images / seconds,
        ranks=timings,
    )


def _steps(path: Path, warmup: int) -> list[dict[str, str]]:
    try:
        with path.open(encoding="ascii", newline="") as file:
            rows = list(csv.DictReader(file))[warmup:]
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}", "the step times of every rank", "measure again") from None
    if not rows:
        raise RecordError(f"{path} with no step after {warmup} of warm-up", "measured steps", "raise --steps")
    return rows


def _point(
    study: Study, point: tuple[str, int], machine: Machine, repetitions: Sequence[Repetition], folder: Path
) -> Point:
    mode, ranks = point
    config = point_config(study, mode, ranks, machine.topology.cores)
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
        cores=machine.topology.cores,
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
        "memory_gib": topology.memory_gib,
        "os": environment["os"],
        "versions": environment["versions"],
        "data": environment["data"],
        "launch": {"threads": tuning["threads"], "binding": tuning["binding"], "env": tuning["env"]},
    }
