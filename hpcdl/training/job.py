"""What each rank of a run executes: join, read, train, and leave records."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from socket import gethostname
from typing import Any
from zlib import crc32

import keras
import numpy as np
import yaml

from hpcdl.analysis.faults import Cost, cost
from hpcdl.config.load import dump
from hpcdl.config.schema import RunConfig
from hpcdl.data.images import Images, ImageSet, Split
from hpcdl.data.order import hold_out
from hpcdl.data.pipeline import image_shape
from hpcdl.errors import Interrupted
from hpcdl.records import dated, event_line, latest_events, read_events, write_json, write_text
from hpcdl.software import versions
from hpcdl.training.agreement import agree
from hpcdl.training.interrupt import Interrupt
from hpcdl.training.journal import Journal, complain
from hpcdl.training.loading import load_on_node
from hpcdl.training.phases import train_phases
from hpcdl.training.resume import find_start
from hpcdl.training.run_keeper import RunKeeper
from hpcdl.training.session import Session, join
from hpcdl.training.timing import COLUMNS, StepTimes
from hpcdl.training.trainer import Care, Emit, make_network
from hpcdl.training.unwritten import Unwritten
from hpcdl.training.usage import Meters, Sampler
from hpcdl.training.watchdog import READING_SECONDS, Beat, unheard

CHECKPOINTS, STOPPED = "checkpoints", "stopped.json"
RESTARTS = "SLURM_RESTART_COUNT"
"""How often Slurm has started this job again."""


def execute(
    config: RunConfig,
    data: Path,
    out: Path,
    environ: Mapping[str, str],
    show: Emit,
    resume: str | None = None,
    interrupt: Interrupt | None = None,
    beat: Beat = unheard,
) -> dict[str, Any]:
    """Trains a recipe on this rank and writes the run's records.

    Args:
        config: the resolved recipe.
        data: folder or archive of the data set.
        out: the run's folder, which exists and has `ranks/`.
        environ: tells this rank's place in the world.
        show: gets rank 0's events as they come, besides events.jsonl.
        resume: a checkpoint to go on from, or auto for the run's newest; None: start at the beginning.
        interrupt: asks this rank to stop.
        beat: hears of each sign of work.

    Returns:
        What summary.json holds.

    Raises:
        Interrupted: a rank was asked to stop; stopped.json says so.
        CheckpointError: see find_start; or the last checkpoint, or another record, could not be written.
    """
    session = join(environ, config.engine.name)
    beat("joining the ranks")
    leader = session.world.is_leader
    meters = Meters() if session.world.local_rank == 0 else None
    placement = session.engine.gather_objects(_place(session, meters))
    journal, end = Journal(out / "events.jsonl"), Unwritten(out)

    def emit(event: dict[str, Any]) -> None:
        if leader:
            now = dated(event)
            journal.add(event_line(now))
            journal.flush()
            show(now)

    agree(session.engine, "the recipe", dump(config).splitlines(), "start every rank with the same recipe and values")
    beat("agreeing on the recipe", READING_SECONDS)
    images = load_on_node(config.data, data, session)
    beat("reading the data")
    fingerprint = _fingerprint(images)
    agree(session.engine, f"the data at {data}", fingerprint, "give every host the same files")
    epoch = len(hold_out(len(images.train), config.data.validation)[0])

    def describe() -> None:
        write_text(out / "config.yaml", dump(config))
        write_json(out / "environment.json", environment(session, images, epoch, placement))

    if leader:
        end.attempt("config.yaml and environment.json", describe)
        end.check()
    start = find_start(resume, out / CHECKPOINTS, config, fingerprint, session, emit) if resume else None
    restarts = int(environ.get(RESTARTS) or 0)
    before = latest_events(out / "events.jsonl", complain) if resume and leader else {}
    if start or restarts or "start" in before:
        restarts = max(restarts, before.get("restart", {}).get("count", 0) + 1)
        update = start.done.get("updates", 0) + start.progress.made if start else 0
        name = {"checkpoint": start.path.name} if start else {}
        emit({"event": "restart", "count": restarts, "from_update": update, **name})
    network = {"shape": image_shape(images.train, config.data), "classes": len(images.classes)}
    facts = {"config": yaml.safe_load(dump(config)), "data": fingerprint, "network": network, "versions": versions()}
    keeper = None
    if leader and config.checkpoint.wanted:
        facts |= {"world_size": session.world.size}
        keeper = RunKeeper(out / CHECKPOINTS, config.checkpoint, facts, partial(make_network, config, images), emit)
    care = Care(keeper, interrupt, beat)
    steps = out / "ranks" / f"{session.world.rank}.steps.csv"
    try:
        with StepTimes(steps, go_on=resume is not None) as times, ExitStack() as stack:
            if meters:
                node = [place["process"] for place in placement if place["node"] == session.world.node]
                usage = out / "ranks" / f"{session.world.rank}.usage.csv"
                stack.enter_context(Sampler(usage, meters, node, lambda: times.made))
            trainer, result = train_phases(config, images, session, times, emit, start, care)
            if leader and not (out / "config.yaml").exists():
                complain(f"{out} has vanished, with what it held; it is made again for what is left to write")
                end.attempt("the run's folder", lambda: (out / "ranks").mkdir(parents=True, exist_ok=True))
                end.attempt("config.yaml and environment.json", describe)
        trainer.keep()
    except Interrupted as stopped:
        if not config.checkpoint.wanted:
            stopped.exit_code, stopped.fix = 1, "start again; checkpoint.every_seconds=600 would have kept it"
        if leader:
            told = {"told": [stopped.received, stopped.expected, stopped.fix], "exit_code": stopped.exit_code}
            end.add("the last checkpoint", keeper.failure if keeper else None)
            end.check()
            end.attempt(STOPPED, lambda: write_json(out / STOPPED, told))
            end.check()
        raise
    losses = session.engine.gather_objects({"events": journal.lost, "steps": times.lost})
    lost = {kind: count for kind in ("events", "steps") if (count := sum(each[kind] for each in losses))}
    world = session.world
    summary = {
        "recipe": config.name,
        "world_size": world.size,
        "nodes": world.nodes,
        "engine": session.engine.name,
        **result,
        **({"lost": lost} if lost else {}),
    }
    if leader and (start or restarts):
        summary |= vars(_cost(out, steps, result["seconds"]))
    if leader:
        end.add("the last checkpoint", keeper.failure if keeper else None)
        if config.train.save:
            end.attempt("model.keras", lambda: save_model(trainer.finished(), out / "model.keras"))
        end.attempt("summary.json", lambda: write_json(out / "summary.json", summary))
        end.check()
    emit({"event": "end", **summary})
    end.add("events.jsonl", journal.failure)
    end.check()
    session.engine.barrier()
    return summary


def _cost(out: Path, steps: Path, useful: float) -> Cost:
    """Of what this run has been through, by its records."""
    rows = [line.split(",") for line in steps.read_text(encoding="ascii").splitlines()[1:]]
    made = [int(row[0]) for row in rows if len(row) == COLUMNS]  # a killed process leaves half a line
    return cost(read_events(out / "events.jsonl", complain), made, useful)


def environment(session: Session, images: ImageSet, epoch: int, placement: list[dict[str, Any]]) -> dict[str, Any]:
    """Versions, data with the images of an epoch, and where each rank ran."""
    return {
        "os": platform.platform(),
        "versions": versions(),
        "engine": session.engine.name,
        "data": images.origin,
        "synthetic": images.synthetic,
        "epoch_images": epoch,
        "classes": list(images.classes),
        "mean": list(images.mean),
        "std": list(images.std),
        "ranks": placement,
    }


def save_model(model: keras.Model, path: Path) -> None:
    """Writes a .keras file, which plain Keras loads, whole or not at all."""
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        model.save(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _fingerprint(images: ImageSet) -> list[str]:
    """What tells sets apart without reading all their pixels."""
    return [
        f"{len(images.train)} training and {len(images.test)} test images of {len(images.classes)} classes",
        f"labels' checksum {crc32(images.train.labels.tobytes() + images.test.labels.tobytes()):08x}",
        f"first and last images' checksum {crc32(_ends(images.train)):08x}",
    ]


def _ends(split: Split) -> bytes:
    """The first and the last image."""
    if isinstance(split, Images):
        return bytes(split.pixels[[0, -1]].tobytes())
    return b"".join(split.read(np.array([0, len(split) - 1])))


def _place(session: Session, meters: Meters | None) -> dict[str, Any]:
    world = session.world
    return {
        "rank": world.rank,
        "host": gethostname(),
        "node": world.node,
        "local_rank": world.local_rank,
        "cpus": sorted(os.sched_getaffinity(0)),
        "process": os.getpid(),
        **({"absent": meters.absent} if meters else {}),
    }
