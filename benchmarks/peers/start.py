"""One start of hpcdl or of a peer, as its user would start it, and what came of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from subprocess import DEVNULL, Popen
from tempfile import TemporaryDirectory
from time import sleep, time
from typing import Any

import yaml
from work import WORKS, Job

from hpcdl.bench.repetition import read_repetition, read_steps
from hpcdl.bench.study import SYNTHETIC_UPDATES
from hpcdl.launch.topology import read_topology
from hpcdl.records import read_json

PEERS = Path(__file__).parent
BIN = Path(sys.executable).parent
LIMIT = 900
"""Seconds after which a start is given up."""
KERAS, KERAS_AT_ONCE = "Keras fit, one process", "Keras fit, one process, steps_per_execution"
SCRIPT, SCRIPT_AT_ONCE = "hpcdl, in a script", "hpcdl, in a script, steps_per_execution"
RECIPES = ("hpcdl, mpi", "hpcdl, Horovod", "hpcdl, one thread")
OURS = (*RECIPES, SCRIPT, SCRIPT_AT_ONCE)
APART = "limit: ranks that never talk"
"""As many hpcdl of one rank as there are ranks, at once. They do not march in step, which can only raise it."""
AT_ONCE = 50
OVERHEAD = ("perceptron",)
"""Works of which Python is the larger part."""


@dataclass(frozen=True)
class Row:
    """What is compared with one another."""

    work: str
    input: str
    ranks: int
    precision: str

    def __str__(self) -> str:
        return f"{self.work}, {self.input}, {self.ranks} ranks, {self.precision}"


@dataclass(frozen=True)
class Pythons:
    """Of the environments that have PyTorch, and Keras on JAX; None leaves them out."""

    torch: str | None
    jax: str | None


def takes_part(row: Row, pythons: Pythons) -> list[str]:
    """Who can do a row."""
    several = row.ranks > 1
    photographs = row.input == "real" and WORKS[row.work].shape[0] == 224
    return [
        "hpcdl, mpi",
        *(["hpcdl, Horovod", APART] if several else []),
        *(["hpcdl, one thread"] if row.work in OVERHEAD and not several else []),
        KERAS,
        *([SCRIPT, SCRIPT_AT_ONCE, KERAS_AT_ONCE] if row.work in OVERHEAD else []),
        *(["Horovod by hand, gloo", "Horovod by hand, MPI", "MultiWorkerMirroredStrategy"] if several else []),
        *(["PyTorch DDP", "PyTorch DDP, compiled"] if pythons.torch else []),
        *(["Keras on JAX"] if pythons.jax and not photographs else []),
    ]


def start(name: str, row: Row, pythons: Pythons, data: str) -> dict[str, Any]:
    """One start.

    Returns:
        images/s after the warm-up, over all ranks; seconds from the start to the end of the first step; bytes of the
        largest process; the mean loss of the last pass over the images, or of what was made of it.

    Raises:
        RuntimeError: it failed, or did not do the work, with the last lines of what it wrote.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cores = read_topology().cores
        base = Job(
            row.work, row.input, data, row.ranks, WORKS[row.work].batch, row.precision,
            max(1, cores // row.ranks), 1, time(), str(folder / "answer.json"),
        )  # fmt: skip
        if name in RECIPES:
            if name == "hpcdl, one thread":  # which `hpcdl tune` finds
                base = replace(base, threads=1)
            engine = "horovod" if name.endswith("Horovod") else "mpi" if row.ranks > 1 else "auto"
            return _recipe(row, engine, base, folder)
        if name == APART:
            return _recipe(row, "auto", base, folder, copies=row.ranks)
        if name in (KERAS, KERAS_AT_ONCE) or (name == "Keras on JAX" and row.ranks == 1):
            base = replace(base, batch=base.batch * row.ranks, ranks=1, threads=cores)
        if name in (KERAS_AT_ONCE, SCRIPT_AT_ONCE):
            base = replace(base, at_once=AT_ONCE)
        return _peer(name, row.ranks, pythons, base, folder)


def _recipe(row: Row, engine: str, job: Job, folder: Path, copies: int = 1) -> dict[str, Any]:
    """A recipe of hpcdl, or copies of it that never talk, of one rank each."""
    work, ranks = job.task, row.ranks // copies
    sets: dict[str, Any] = {
        "train.global_batch": work.batch * ranks,
        "train.micro_batch": work.batch,
        "train.steps": job.all_steps,
        "train.epochs": job.all_steps,
        "train.evaluate": "end" if job.tested else "false",
        "train.save": "false",  # no peer writes what it trained
        "checkpoint.every_seconds": "null",
        "train.precision": row.precision,
        "optimizer.learning_rate": work.rate,
        "schedule.name": "constant",
        "schedule.scaling": "none",
        "schedule.warmup_epochs": 0,
        "schedule.milestones": "[]",
        "data.normalize": "unit",
    }
    if work.optimizer == "sgd":
        sets |= {"optimizer.weight_decay": 0, "optimizer.momentum": work.momentum}
    if work.shape[0] < 224:
        sets["data.augment"] = "[]"
    if row.input == "synthetic":
        # As many as there are real ones where an epoch of a few updates would be ended as often as a step is made.
        few = work.batch * ranks * SYNTHETIC_UPDATES
        sets["data.synthetic"] = work.images if row.work in OVERHEAD else few
    sets["launch.threads"] = job.threads
    words = [work.recipe, "-n", str(ranks), "--oversubscribe", *(f"{key}={value}" for key, value in sets.items())]
    place = [] if row.input == "synthetic" else ["--data", job.folder]
    runs = [folder / f"run-{copy}" for copy in range(copies)]
    command = [sys.executable, "-m", "hpcdl", "run", *words, "--engine", engine, *place]
    memory = _together([([*command, "--out", str(out)], {}) for out in runs], folder / "log")
    whole = [read_repetition(out, folder, 0, job.warmup) for out in runs]
    asked = yaml.safe_load((runs[0] / "config.yaml").read_text(encoding="utf-8"))
    images = work.batch * ranks * work.steps
    done = (asked["model"]["name"], asked["train"]["precision"], *(one.images for one in whole))
    if done != (work.network, row.precision, *(images for _ in whole)):
        raise RuntimeError(f"{done}, not the work")
    events = [json.loads(line) for line in (runs[0] / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    told = read_json(runs[0] / "summary.json", fix="")
    begun = next(event["time"] for event in events if event["event"] == "start")
    first = read_steps(runs[0] / "ranks" / "0.steps.csv")[0]["step"]
    return {
        "images_per_s": sum(one.images_per_s for one in whole),
        "first_step_seconds": datetime.fromisoformat(begun).timestamp() + first - job.began,
        "memory": memory,
        "loss": told["loss"],
        "accuracy": told.get("test_accuracy") if copies == 1 else None,
    }


def _peer(name: str, ranks: int, pythons: Pythons, job: Job, folder: Path) -> dict[str, Any]:
    """Anything else, of which rank 0 answers."""
    path = folder / "job.json"
    path.write_text(json.dumps(asdict(job)), encoding="utf-8")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(PEERS.parent.parent)}
    memory = _together(
        [(words, quiet | own) for words, own in _commands(name, ranks, pythons, job, path)], folder / "log"
    )
    answer = read_json(Path(job.answer), fix="see the peer's log")
    work = job.task
    if answer["parameters"] != work.parameters:
        raise RuntimeError(f"{answer['parameters']:,} parameters, not {work.parameters:,}")
    ends, losses = answer["ends"][: job.all_steps], answer["losses"][: job.all_steps]
    if len(ends) < job.all_steps:
        raise RuntimeError(f"{len(ends)} steps, not {job.all_steps}")
    # Of several steps at once the end of the last is known.
    first = -(-job.warmup // job.at_once) * job.at_once
    last = job.all_steps // job.at_once * job.at_once
    whole = (len(ends) - 1) // job.an_epoch * job.an_epoch
    return {
        "images_per_s": job.ranks * job.batch * (last - first) / (ends[last - 1] - ends[first - 1]),
        "first_step_seconds": ends[0] - job.began,
        "memory": memory,
        "loss": sum(losses[whole:]) / len(losses[whole:]),
        "accuracy": answer["accuracy"],
    }


def _commands(name: str, ranks: int, pythons: Pythons, job: Job, path: Path) -> list[tuple[list[str], dict[str, str]]]:
    """What is started for it, side by side, with variables of their own."""
    scripts = {name: str(PEERS / f"{name}.py") for name in ("keras_fit", "horovod_loop", "multiworker", "jax_keras")}
    if name in (SCRIPT, SCRIPT_AT_ONCE):
        words = ["-m", "hpcdl", "run", str(PEERS / "hpcdl_fit.py"), "-n", str(ranks), "--oversubscribe"]
        engine = ["--engine", "mpi"] if ranks > 1 else []
        return [([sys.executable, *words, *engine, "--", str(path)], {})]
    if name.startswith("Keras fit"):
        return [([sys.executable, scripts["keras_fit"], str(path)], {})]
    if name.startswith("Horovod"):
        gloo = name.endswith("gloo")
        words = [str(BIN / "horovodrun"), "--gloo" if gloo else "--mpi", "-np", str(ranks), "-H", f"localhost:{ranks}"]
        # What it would write by itself, "-bind-to none", is no option of Open MPI 5.
        words += [] if gloo else ["--binding-args", "--bind-to none --map-by slot"]
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        own = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        return [([*words, sys.executable, scripts["horovod_loop"], str(path)], root | own)]
    if name == "MultiWorkerMirroredStrategy":
        workers = [f"127.0.0.1:{_free_port()}" for _ in range(ranks)]
        tasks = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}} for rank in range(ranks)]
        pools = {"TF_NUM_INTRAOP_THREADS": str(job.threads)}
        return [
            ([sys.executable, scripts["multiworker"], str(path)], pools | {"TF_CONFIG": json.dumps(each)})
            for each in tasks
        ]
    if name.startswith("PyTorch"):
        words = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--master-port", str(_free_port())]
        script = [str(PEERS / "torch_ddp.py"), str(path), *(["--compile"] if name.endswith("compiled") else [])]
        return [([str(pythons.torch), *words, *script], {"OMP_NUM_THREADS": str(job.threads)})]
    meet = {"KERAS_BACKEND": "jax", "COORDINATOR": f"127.0.0.1:{_free_port()}"}
    return [
        ([str(pythons.jax), scripts["jax_keras"], str(path)], meet | {"RANK": str(rank)}) for rank in range(job.ranks)
    ]


def _free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _together(commands: Sequence[tuple[Sequence[str], dict[str, str]]], log: Path) -> int:
    """Runs commands side by side, each in a process group of its own, to their ends or for LIMIT seconds.

    Returns:
        Bytes of the largest of their processes.

    Raises:
        RuntimeError: one failed, with the last lines of what was written.
    """
    with log.open("w") as file:
        started = [
            Popen(words, env=os.environ | own, stdout=file, stderr=file, stdin=DEVNULL, start_new_session=True)
            for words, own in commands
        ]
        until, largest, failed = time() + LIMIT, 0, ""
        waiting = {one.pid for one in started}
        try:
            while waiting and not failed:
                for pid in sorted(waiting):
                    # Of a process that waited for its own, as launchers do, theirs count too.
                    ended, status, usage = os.wait4(pid, os.WNOHANG)
                    if ended:
                        waiting.discard(pid)
                        largest = max(largest, usage.ru_maxrss * 1024)
                        failed = failed or (f"status {status}" if status else "")
                if time() > until:
                    failed = f"not done after {LIMIT} s"
                sleep(0.05)
        finally:
            for one in started:
                if one.pid in waiting:
                    os.killpg(one.pid, signal.SIGKILL)
                    os.waitpid(one.pid, 0)
                one.returncode = 0  # waited for, by its id
    if failed:
        raise RuntimeError("\n".join([failed, *log.read_text(errors="replace").splitlines()[-8:]]))
    return largest
