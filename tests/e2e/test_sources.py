"""Recipes on data of every kind, from the command line: folders, shards, arrays, and what is wrong with them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdl.data.sources.registry import SOURCES

Run = Callable[..., subprocess.CompletedProcess[str]]
PHOTOGRAPHS = [
    *("cifar10-resnet20", "data.source=imagenet", "data.size=32", "data.augment=[random-resized-crop, flip, mixup]"),
    *("train.global_batch=16", "train.micro_batch=8", "train.epochs=1", "schedule.warmup_epochs=0", "--oversubscribe"),
]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs' stand-in by class: 40 for training, 10 for the test."""
    return SOURCES["imagenet"].synthesize(tmp_path_factory.mktemp("photographs"), 40, 10, 0)


def test_photographs_train_from_folders_and_from_shards(hpcdl: Run, tmp_path: Path, photographs: Path) -> None:
    packed = hpcdl("data", "prepare", "imagenet", "--data", str(photographs), "--out", "shards", "--size", "64")
    assert packed.returncode == 0, packed.stderr
    for data, ranks in ((photographs, 1), (tmp_path / "shards", 2)):
        done = hpcdl("run", *PHOTOGRAPHS, "-n", str(ranks), "--data", str(data), "--out", f"run{ranks}", "--json")
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        assert (summary["images"], summary["updates"]) == (40, 3) and 0 <= summary["test_accuracy"] <= 1
        environment = json.loads((tmp_path / f"run{ranks}" / "environment.json").read_text(encoding="utf-8"))
        assert environment["synthetic"] and "40 training and 10 test images" in environment["data"]


def test_a_damaged_photograph_is_named_and_ends_all_ranks(hpcdl: Run, tmp_path: Path, photographs: Path) -> None:
    broken = tmp_path / "broken"
    for path in photographs.rglob("*"):
        if path.is_file():
            copy = broken / path.relative_to(photographs)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    victim = sorted((broken / "train").rglob("*.JPEG"))[17]
    victim.write_bytes(victim.read_bytes()[:500])
    done = hpcdl("run", *PHOTOGRAPHS, "-n", "2", "--data", str(broken), "--out", "run")
    assert done.returncode == 2
    assert str(victim) in done.stderr and "--bad skip" in done.stderr and "Traceback" not in done.stderr
    skipped = hpcdl("data", "prepare", "imagenet", "--data", str(broken), "--out", "shards", "--bad", "skip", "--json")
    assert skipped.returncode == 0 and json.loads(skipped.stdout)["train"] == 39


def test_arrays_of_ones_own_stop_early(hpcdl: Run, tmp_path: Path) -> None:
    assert hpcdl("data", "synth", "npz", "--out", "own", "--train", "300", "--test", "50").returncode == 0
    options = [
        "data.source=npz",
        "data.validation=0.2",
        "train.patience=1",
        "train.epochs=30",
        "optimizer.learning_rate=0.1",
    ]
    done = hpcdl("run", "mnist-mlp-64", *options, "--data", "own", "--out", "run", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["images"] % 240 == 0 and summary["images"] < 30 * 240
    assert "validation loss did not fall" in summary["stopped"]


def test_the_input_is_measured(hpcdl: Run, photographs: Path) -> None:
    recipe = [word for word in PHOTOGRAPHS if word != "--oversubscribe"]
    done = hpcdl("bench", "input", *recipe, "--data", str(photographs), "--seconds", "0.1", "--repeats", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["stages"].keys() == {"read", "decode", "augment"} and min(found["stages"].values()) > 0
    assert found["bottleneck"] in {*found["stages"], "network"} and found["ratio"] > 0
