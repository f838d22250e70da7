"""Recipes through the Trainer, in as many ways as a recipe can say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import record
import small_net

import hpcdl
from hpcdl.config.load import load
from hpcdl.data.sources import cifar, synth
from hpcdl.errors import ConfigError, Interrupted
from hpcdl.training import job, phases, session, trainer
from hpcdl.training.interrupt import Interrupt
from hpcdl.training.loading import load_on_node
from hpcdl.training.resume import find_start
from hpcdl.training.run_keeper import RunKeeper
from hpcdl.training.timing import StepTimes
from hpcdl.training.trainer import Care

world = hpcdl.init()
BASE = [
    "schedule.name=constant",
    "schedule.warmup_epochs=0",
    "schedule.scaling=none",
    "train.global_batch=64",
    "train.micro_batch=16",
    "train.epochs=1",
    "train.evaluate=false",
    "train.check_every=1",
]


def train(*overrides: str) -> record.Findings:
    """A recipe with other settings: 250 images in updates of 64, of which the last has 58, in micro-batches of 16."""
    config = load("cifar10-resnet20", [*BASE, *overrides])
    folder = record.out() / "trainer"
    folder.mkdir(exist_ok=True)
    events: list[dict[str, Any]] = []
    with StepTimes(folder / f"{world.rank}.csv") as times:
        images = cifar.load(record.data())
        recipe, summary = phases.train_phases(config, images, session.current(), times, events.append)
    if world.is_leader and overrides == ("optimizer.learning_rate=0.05",):
        job.save_model(recipe.finished(), record.out() / "small.keras")
    steps = np.loadtxt(folder / f"{world.rank}.csv", delimiter=",", skiprows=2, ndmin=2)  # the first step traces
    found = {
        "communication": steps[:, 5].sum() / steps[:, 2].sum(),
        "evaluations": sum(event["event"] == "epoch" and "test_loss" in event for event in events),
    }
    return found | {f"summary {name}": value for name, value in summary.items()} | record.weights_of(recipe.model)


def small(*overrides: str, how: Callable[..., record.Findings] = train) -> record.Findings:
    """With a network of this test's own, which has batch normalisation and dropout."""
    build, trainer.build = trainer.build, small_net.build  # type: ignore[attr-defined]
    try:
        return how("optimizer.learning_rate=0.05", *overrides)
    finally:
        trainer.build = build  # type: ignore[attr-defined]


class Asked(Interrupt):
    """Asks to stop after some update, on the last rank alone."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after, self._made = after, 0

    def beat(self, done: str) -> None:
        """Counts updates."""
        self._made += done.startswith("update")

    @property
    def asked(self) -> str | None:
        """The update that comes is the last."""
        return "this test" if world.rank == world.size - 1 and self._made + 1 >= self._after else None


def go_on(folder: Path, after: int, *overrides: str) -> record.Findings:
    """Trains until it is asked to stop, and goes on; where `folder` holds a checkpoint, it only goes on."""
    config = load("cifar10-resnet20", [*BASE, "checkpoint.every_steps=2", "checkpoint.keep=1", *overrides])
    images, joined, asked = cifar.load(record.data()), session.current(), Asked(after)
    facts = {"config": config.model_dump(mode="json"), "data": ["these"]}
    events: list[dict[str, Any]] = []
    told = ""
    with StepTimes(record.out() / f"{world.rank}.csv") as times:
        if joined.engine.gather_objects(folder.exists())[0] is False:
            network = partial(trainer.make_network, config, images)
            keeper = RunKeeper(folder, config.checkpoint, facts, network, events.append) if world.is_leader else None
            try:
                care = Care(keeper, asked, asked.beat)
                phases.train_phases(config, images, joined, times, events.append, care=care)
            except Interrupted as stopped:
                told = stopped.received
        start = find_start("auto", folder, config, ["these"], joined, events.append)
        assert start is not None
        here = {"from": start.progress.made + start.done.get("updates", 0), "told": told}
        recipe, summary = phases.train_phases(config, images, joined, times, events.append, start)
    kept = [event["update"] for event in events if event["event"] == "checkpoint"]
    return (
        here
        | {"kept": kept}
        | {f"summary {name}": value for name, value in summary.items()}
        | record.weights_of(recipe.model)
    )


RESUMED = {  # settings, and after which update they are stopped: 4 are an epoch
    "in an epoch": (3, ["train.epochs=2"]),
    "after an epoch": (4, ["train.epochs=2"]),
    "in phases": (
        6,
        [
            "phases=[{epochs: 1, trainable: head}, {epochs: 1, learning_rate: 0.01}]",
            "schedule.name=cosine",
            "schedule.warmup_epochs=0.5",
            "schedule.momentum_correction=true",
        ],
    ),
    "scaled": (
        6,
        [
            "train.precision=mixed_float16",
            "train.epochs=2",
            "data.validation=0.2",
            "train.patience=2",
            "train.evaluate=true",
        ],
    ),
}


def resumed(name: str) -> record.Findings:
    """A run that was stopped and went on, in this world."""
    after, overrides = RESUMED[name]
    return small("train.deterministic=true", *overrides, how=partial(go_on, record.out() / f"kept {name}", after))


def moved() -> record.Findings:
    """A run that began in the first world that was tested, and goes on in this one."""
    folder = record.data().parent / "kept"
    return small("train.deterministic=true", "train.epochs=2", how=partial(go_on, folder, 3))


SETTINGS: dict[str, Sequence[str]] = {
    "small": (),
    "bf16": ("engine.compression=bf16", "engine.bucket_mb=0.001"),
    "fp16": ("engine.compression=fp16",),
    "mixed_float16": ("train.precision=mixed_float16",),
    "large batch": (
        "optimizer.name=lars",
        "optimizer.nesterov=null",
        "optimizer.trust=0.02",
        "train.label_smoothing=0.1",
        "schedule.name=one-cycle",
        "schedule.warmup_epochs=0.5",
        "schedule.scaling=sqrt",
        "schedule.base_batch=16",
    ),
    "corrected": ("schedule.name=cosine", "schedule.warmup_epochs=0.5", "schedule.momentum_correction=true"),
    "mixed pairs": ("data.augment=[random-resized-crop, flip, color-jitter, cutmix]", "train.label_smoothing=0.1"),
    "two phases": ("phases=[{epochs: 1, trainable: head}, {epochs: 1, learning_rate: 0.01}]",),
    "held out": (
        "data.validation=0.2",
        "train.evaluate=true",
        "train.epochs=4",
        "train.patience=1",
        "optimizer.momentum=0.99",
    ),
    "uneven": ("train.global_batch=48",),  # 3 micro-batches: 2 and 1 for two ranks, and none for the last of four
    "target": ("train.evaluate=true", "train.epochs=4", "train.target=0.01"),
    # The last update of an epoch has another shape on one rank alone, and all compare their weights after each call.
    "several at once": ("train.steps_per_execution=7", "train.epochs=2"),
    "two epochs": (
        "train.epochs=2",
        "optimizer.name=lamb",
        "optimizer.momentum=null",
        "optimizer.decay=kernels",
        "train.evaluate=end",
        "train.mirror=true",
    ),
}


def unlike() -> record.Findings:
    """The last rank has another recipe, or other data; every rank must hear of it."""
    if world.size == 1:
        return {}
    last = world.rank == world.size - 1
    found = {}
    for name, seed, images in (("recipe", int(last), 40), ("data", 0, 40 - 5 * last)):
        folder = record.out() / f"{name}{world.rank}"
        data = synth.cifar(folder, train=images, test=10)
        config = load("cifar10-cnn", [f"train.seed={seed}"])
        try:
            job.execute(config, data, folder, {}, lambda event: None)
        except ConfigError as error:
            found[name] = str(error)
    return found


def one_copy() -> record.Findings:
    """The set as this rank has it, and the kB of its pixels that are this rank's alone."""
    config = load("cifar10-cnn", [])
    images = load_on_node(config.data, record.data(), session.current())
    pixels = images.train.pixels
    private, mine = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split()[0] and not line.split()[0].endswith(":"):
            mine = "hpcdl-" in line and "(deleted)" in line
        elif mine and line.startswith(("Private_Dirty", "Anonymous")):
            private += int(line.split()[1])
    mapped = int(isinstance(pixels, np.memmap))
    return {"sum": int(pixels.sum(dtype=np.int64)), "mapped": mapped, "private": private}


def work() -> dict[str, Any]:
    works: dict[str, Any] = {
        name: lambda overrides=overrides: small(*overrides) for name, overrides in SETTINGS.items()
    }
    works["cnn"] = lambda: train("model.name=cifar10-cnn", "optimizer.learning_rate=0.005", "train.evaluate=true")
    works["unlike"] = unlike
    works["one copy"] = one_copy
    works["resnet"] = lambda: train("train.steps=3", "optimizer.learning_rate=0.005")
    # Last, for it changes TensorFlow's operations for the rest of the process.
    works["ordered"] = lambda: small("train.deterministic=true", "train.epochs=2")
    works["ordered again"] = works["ordered"]
    for name, (_, overrides) in RESUMED.items():
        works[f"resumed {name}"] = partial(resumed, name)
        if name.endswith("an epoch"):
            continue  # as ordered
        works[f"not stopped, {name}"] = partial(small, "train.deterministic=true", *overrides)
    works["moved"] = moved
    works["ordered cnn"] = lambda: train("model.name=cifar10-cnn", "train.deterministic=true", "train.steps=2")
    return {name: do for name, do in works.items() if small_net.judged(world.size, name)}


if __name__ == "__main__":
    record.save(world.rank, work())
