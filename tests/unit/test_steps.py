"""Updates that TensorFlow makes without Python between them: the same as one by one."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from hpcdl.config.load import load
from hpcdl.data.images import Encoded, ImageSet
from hpcdl.data.sources import cifar
from hpcdl.engine.single import SingleEngine
from hpcdl.errors import DataError, DivergenceError
from hpcdl.training import trainer
from hpcdl.training.keeper import Fill
from hpcdl.training.pace import CALL_SECONDS, MEASURED, Pace
from hpcdl.training.run_keeper import RunKeeper
from hpcdl.training.session import Session
from hpcdl.training.timing import StepTimes
from hpcdl.training.trainer import Care, Trainer
from hpcdl.world import World

RECIPE = [
    "train.global_batch=20",
    "train.micro_batch=5",
    "train.epochs=2",
    "train.evaluate=false",
    "schedule.warmup_epochs=1",
    "optimizer.learning_rate=0.05",
]
"""12 updates of 20 images and one of 10, twice, each at a rate of its own."""


@pytest.fixture(scope="module")
def data(small_cifar: Path) -> ImageSet:
    return cifar.load(small_cifar / cifar.CIFAR10.folder)


def build(name: str, shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Moving statistics, and random layers."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(4, 3, strides=4),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(classes, activation="softmax"),
        ]
    )


def make(data: ImageSet, times: StepTimes, *overrides: str, care: Care | None = None) -> Trainer:
    config = load("cifar10-resnet20", [*RECIPE, *overrides])
    return Trainer(
        config, data, Session(World(), SingleEngine()), times, lambda event: None, **({"care": care} if care else {})
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "build", build)


def trained(data: ImageSet, path: Path, *overrides: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    with StepTimes(path) as times:
        made = make(data, times, *overrides)
        summary = made.train()
    return summary, [variable.numpy() for variable in made.model.variables]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("how", [["schedule.momentum_correction=false"], ["schedule.momentum_correction=true"]])
def test_what_is_learned_does_not_depend_on_updates_a_call(data: ImageSet, tmp_path: Path, how: Sequence[str]) -> None:
    one, weights = trained(data, tmp_path / "1", *how, "train.steps_per_execution=1")
    for count in ("5", "100"):
        several, same = trained(data, tmp_path / count, *how, f"train.steps_per_execution={count}")
        assert (several["updates"], several["images"]) == (one["updates"], one["images"]) == (26, 500)
        assert several["loss"] == one["loss"] and several["accuracy"] == one["accuracy"]
        for ours, theirs in zip(same, weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    corrected = how[0].endswith("true")
    plain = trained(data, tmp_path / "plain", "schedule.momentum_correction=false")[1] if corrected else None
    assert plain is None or any((ours != theirs).any() for ours, theirs in zip(plain, weights, strict=True))


@pytest.mark.usefixtures("small")
def test_tensorflow_optimises_the_loop(data: ImageSet, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where its optimiser fails it leaves the graph as it is, and says so on stderr alone."""
    trained(data, tmp_path / "steps.csv", "train.epochs=1")
    assert "optimiz" not in capfd.readouterr().err


@pytest.mark.usefixtures("small")
def test_every_update_is_timed(data: ImageSet, tmp_path: Path) -> None:
    summary, _ = trained(data, tmp_path / "steps.csv", "train.steps_per_execution=5")
    with (tmp_path / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(26))
    assert [int(row["images"]) for row in rows] == 2 * [*12 * [20], 10]
    whole = [float(row["step_seconds"]) for row in rows]
    parts = [float(row[f"{part}_seconds"]) for row in rows for part in ("input", "compute", "communication")]
    assert min(whole) > 0 and min(parts) >= 0
    assert sum(parts) <= sum(whole) <= summary["seconds"]


class Kept(RunKeeper):
    """Notes when a checkpoint would be written."""

    def __init__(self, every: int) -> None:
        config = load("cifar10-resnet20", [f"checkpoint.every_steps={every}", "checkpoint.every_seconds=null"])
        super().__init__(Path("/nowhere"), config.checkpoint, {}, lambda: None, lambda event: None)
        self.updates: list[int] = []

    def keep(self, update: int, *_: Any, **__: Any) -> None:
        self.updates.append(update)
        self.start(update)

    def snapshot(self, *_: Any) -> Fill:
        raise NotImplementedError


@pytest.mark.usefixtures("small")
def test_a_call_ends_where_a_checkpoint_is_due(data: ImageSet, tmp_path: Path) -> None:
    keeper = Kept(4)
    with StepTimes(tmp_path / "steps.csv") as times:
        care = Care(keeper)
        options = ("train.steps_per_execution=100", "checkpoint.every_steps=4", "train.epochs=1")
        make(data, times, *options, care=care).train()
    assert keeper.updates == [4, 8, 12]


@pytest.mark.usefixtures("small")
def test_a_loss_that_is_not_finite_is_told_with_its_update(data: ImageSet, tmp_path: Path) -> None:
    with StepTimes(tmp_path / "steps.csv") as times:
        wild = make(
            data, times, "train.steps_per_execution=10", "optimizer.learning_rate=1e30", "schedule.warmup_epochs=0"
        )
        with pytest.raises(DivergenceError, match=r"at update [23]\b"):
            wild.train()


@pytest.mark.usefixtures("small")
def test_an_image_of_a_later_update_is_named(data: ImageSet, tmp_path: Path) -> None:
    import io

    from PIL import Image

    files = []
    for pixels in data.train.pixels:  # type: ignore[union-attr]
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.append(buffer.getvalue())
    files[77] = b"no image"
    split = Encoded(data.train.labels, lambda places: [files[place] for place in places], lambda place: f"file {place}")
    with StepTimes(tmp_path / "steps.csv") as times:
        stored = replace(data, train=split)
        made = make(stored, times, "train.steps_per_execution=13", "data.size=32")
        with pytest.raises(DataError, match="file 77: "):
            made.train()


class Told(SingleEngine):
    """Rank 0 found what it found."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value, self.asked = value, 0

    def broadcast_array(self, array: Any, root: int) -> Any:
        self.asked += 1
        return np.full_like(array, self.value)


def test_the_pace_is_rank_0s_and_found_once() -> None:
    engine = Told(7)
    pace = Pace(engine, "auto")
    for _ in range(MEASURED.stop + 5):
        assert pace.most == (7 if engine.asked else 1)
        pace.add(0.001)
    assert engine.asked == 1 and pace.most == 7


def test_the_pace_fills_a_tenth_of_a_second_with_the_fastest_updates() -> None:
    pace = Pace(SingleEngine(), "auto")
    for number in range(MEASURED.stop):
        pace.add(5.0 if number < MEASURED.start else 0.004 + 0.001 * (number % 2))
    assert pace.most == int(CALL_SECONDS / 0.004)
    slow = Pace(SingleEngine(), "auto")
    for _ in range(MEASURED.stop):
        slow.add(3.0)
    assert slow.most == 1


def test_a_pace_that_was_asked_for_stays() -> None:
    pace = Pace(Told(7), 3)
    for _ in range(100):
        pace.add(1e-6)
    assert pace.most == 3
