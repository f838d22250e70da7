"""A run that goes on loses nothing by what it is refused for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcdl.cli import prepare
from hpcdl.config.load import dump, load
from hpcdl.config.same import differences
from hpcdl.errors import CheckpointError, HpcdlError
from hpcdl.launch.hosts import Host, Listed
from hpcdl.launch.plan import Plan
from hpcdl.launch.run import run_recipe

RECIPE = load("cifar10-cnn")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder, with a checkpoint."""
    for name in ("events.jsonl", "summary.json", "launch.json", "checkpoints/update-00000005/manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "config.yaml").write_text(dump(RECIPE))
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_another_recipe_is_refused_before_anything_changes(run: Path) -> None:
    before = contents(run)
    with pytest.raises(CheckpointError, match=r"optimizer.learning_rate was .* and is 9.0"):
        prepare.reopen(run, load("cifar10-cnn", ["optimizer.learning_rate=9.0"]))
    assert contents(run) == before
    prepare.reopen(run, load("cifar10-cnn", ["train.epochs=99", "launch.threads=1", "data.path=/elsewhere"]))
    assert not (run / "summary.json").exists()


def test_what_decides_the_training_must_be_as_it_was() -> None:
    then = RECIPE.model_dump(mode="json")
    assert differences(then, RECIPE) == []
    for change in ("train.global_batch=64 train.micro_batch=32", "model.name=resnet20", "train.seed=1"):
        assert differences(then, load("cifar10-cnn", change.split())), change


def test_hosts_that_do_not_answer_cost_no_checkpoint(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is opened on them before ranks start; where that fails, an earlier run's stays."""
    monkeypatch.setattr("hpcdl.launch.run.launch_record", lambda *_: {})
    where = Listed((Host("nowhere.invalid", 1),), ssh=("false",))
    plan = Plan(("true",), 1, None, where)  # type: ignore[arg-type]  # never started
    with pytest.raises(HpcdlError):
        run_recipe(plan, RECIPE, run, None, {}, overwrite=True)  # type: ignore[arg-type]
    assert (run / "checkpoints/update-00000005/manifest.json").exists()
