"""Suites: what ships is right, what is wrong in one is told by its key, and a changed one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpcdl.bench.suite import Suite, load_suite, open_suite
from hpcdl.cli.app import app
from hpcdl.config.load import load
from hpcdl.data.images import Images
from hpcdl.data.sources.registry import load as load_images
from hpcdl.errors import ConfigError

SUITES = Path(__file__).parents[2] / "benchmarks" / "suites"
ONE = "studies:\n  - name: a\n    recipe: cifar10-cnn\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["this-machine", "tiny"])
def test_suites_that_ship_name_recipes_that_are_there(name: str) -> None:
    for study in load_suite(SUITES / f"{name}.yaml").studies:
        load(study.recipe, study.overrides)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "mapping"),
        ("about: x\n", "no studies"),
        ("studies: []\n", "studies"),
        (f"{ONE}extra: 1\n", "unknown key extra"),
        (f"{ONE}    rank: [1]\n", "did you mean ranks?"),
        (f"{ONE}    ranks: [0]\n", "ranks"),
        (f"{ONE}    ranks: [2, 2]\n", "each once"),
        (f"{ONE}    engines: []\n", "one value or more"),
        (f"{ONE}    engines: [nccl]\n", "engines"),
        (f"{ONE}    warmup: some\n", "warmup"),
        (f"{ONE}    to_accuracy: 1.5\n", "to_accuracy"),
        ("studies:\n  - name: a\n", "no recipe"),
        ("studies:\n  - name: ../a\n    recipe: cifar10-cnn\n", "name"),
        (f"{ONE}  - name: a\n    recipe: cifar10-cnn\n", "a name of its own"),
        ("studies: 3\n", "studies"),
        ("studies: [3]\n", "study 1"),
        ("studies:\n  - {name: a\n", "valid YAML"),
    ],
)
def test_a_suite_that_cannot_be_used_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_suite(written(tmp_path, text))
    assert told in str(caught.value) and "suite.yaml" in caught.value.received


def test_a_suite_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file"):
        load_suite(tmp_path / "none.yaml")


def test_a_changed_suite_is_refused_with_the_studies_that_changed(tmp_path: Path) -> None:
    suite, folder = load_suite(written(tmp_path, ONE)), tmp_path / "out"
    open_suite(folder, suite, overwrite=False)
    open_suite(folder, suite, overwrite=False)
    other = Suite(studies=[suite.studies[0].model_copy(update={"steps": 3}), *suite.studies[1:]])
    with pytest.raises(ConfigError, match="changed: a"):
        open_suite(folder, other, overwrite=False)
    open_suite(folder, other, overwrite=True)
    open_suite(folder, other, overwrite=False)


def test_starts_of_a_suite_are_listed_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPCDL_DATA", raising=False)
    done = CliRunner().invoke(app, ["bench", "suite", str(SUITES / "tiny.yaml"), "--out", "s", "--dry-run"])
    assert done.exit_code == 0, done.output
    starts = [line for line in done.output.splitlines() if line.startswith("dense/")]
    assert starts == ["dense/weak-synthetic-single-1-1", "dense/weak-synthetic-mpi-2-1"]
    assert not list(tmp_path.iterdir())


def test_synthetic_images_have_the_shape_of_the_set_and_need_none() -> None:
    for recipe, shape, classes in (
        ("cifar10-cnn", (32, 32, 3), 10),
        ("mnist-cnn", (28, 28, 1), 10),
        ("imagenet-resnet50", (224, 224, 3), 1000),
    ):
        found = load_images(load(recipe, ["data.synthetic=24"]).data, Path("nowhere"))
        assert isinstance(found.train, Images) and found.train.pixels.shape == (24, *shape)
        assert len(found.classes) == classes and 0 <= found.train.labels.min() <= found.train.labels.max() < classes
        assert found.train.pixels.std() > 60 and found.origin.startswith("random pixels in place of")
        again = load_images(load(recipe, ["data.synthetic=24"]).data, Path("nowhere"))
        assert isinstance(again.train, Images) and (again.train.pixels == found.train.pixels).all()
    few = load_images(load("imagenet-resnet50", ["data.synthetic=8", "data.classes=5", "data.size=64"]).data, Path("x"))
    assert len(few.classes) == 5 and isinstance(few.train, Images) and few.train.pixels.shape[1] == 64
    with pytest.raises(ConfigError, match="its own"):
        load_images(load("dogs-cats-cnn", ["data.synthetic=8", "data.classes=null"]).data, Path("x"))
