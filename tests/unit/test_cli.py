"""The command line as a user meets it: help, lists, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpcdl.cli.app import app
from hpcdl.errors import HpcdlError

COMMANDS = [
    ["run"],
    ["train"],
    ["bench", "scaling"],
    ["bench", "suite"],
    ["report"],
    ["forecast"],
    ["recipes", "list"],
    ["recipes", "show"],
    ["recipes", "copy"],
    ["recipes", "keys"],
    ["models", "list"],
    ["data", "list"],
    ["models", "show"],
    ["data", "synth"],
    ["data", "fetch"],
    ["data", "prepare"],
    ["data", "verify"],
    ["data", "show"],
    ["evaluate"],
    ["predict"],
    ["bench", "input"],
    ["doctor"],
    ["container", "build"],
    ["container", "check"],
]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Calls a command in this process, in an empty folder; answers its output or raises its error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPCDL_DATA", raising=False)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, HpcdlError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str], call: Callable[..., str]) -> None:
    text = call(*command, "--help")
    assert "Usage:" in text
    assert f"hpcdl {' '.join(command)}" in text.split("xample", 1)[1]


def test_every_key_of_a_recipe_is_told_with_its_meaning(call: Callable[..., str]) -> None:
    lines = call("recipes", "keys").splitlines()
    assert "train.micro_batch=128  Images a forward pass" in "\n".join(lines)
    assert "model.name (required)  " in "\n".join(lines)
    assert all(len(line.split("  ", 1)[1]) > 5 for line in lines)


def test_lists_speak_json(call: Callable[..., str]) -> None:
    assert {"cifar10-cnn", "mnist-cnn"} <= {row["name"] for row in json.loads(call("recipes", "list", "--json"))}
    models = {row["name"]: row["parameters"] for row in json.loads(call("models", "list", "--json"))}
    assert models["cifar10-cnn"] == 122_570
    found = {row["name"]: row["found"] for row in json.loads(call("data", "list", "--json"))}
    assert {"cifar10", "mnist", "imagenet", "folder"} <= found.keys() and set(found.values()) == {None}


def test_a_recipe_can_be_copied_once(call: Callable[..., str], tmp_path: Path) -> None:
    assert "hpcdl run" in call("recipes", "copy", "cifar10-cnn", "my.yaml")
    assert (tmp_path / "my.yaml").read_text(encoding="utf-8") == call("recipes", "show", "cifar10-cnn")
    with pytest.raises(HpcdlError, match="exists"):
        call("recipes", "copy", "cifar10-cnn", "my.yaml")
    with pytest.raises(HpcdlError, match="No such file"):
        call("recipes", "copy", "cifar10-cnn", "nowhere/my.yaml")


def test_a_stand_in_is_written_and_found(call: Callable[..., str]) -> None:
    assert "synthetic" in call("data", "synth", "cifar10", "--out", "data", "--train", "50", "--test", "10")
    found = {row["name"]: row["found"] for row in json.loads(call("data", "list", "--json"))}
    assert found.pop("cifar10") == "data/cifar-10-batches-bin" and set(found.values()) == {None}
    with pytest.raises(HpcdlError, match="multiple of 5"):
        call("data", "synth", "cifar10", "--out", "other", "--train", "7")


def test_a_dry_run_prints_the_line_and_leaves_nothing(
    call: Callable[..., str], small_cifar: Path, tmp_path: Path
) -> None:
    line = call(
        "run", "cifar10-cnn", "-n", "2", "--oversubscribe", "--data", str(small_cifar), "--dry-run", "--out", "a b"
    )
    assert "mpirun" in line and " -np 2 " in line and "--bind-to none" in line and f"'{tmp_path}/a b'" in line
    lines = call(
        "bench", "scaling", "--ranks", "1,2", "--oversubscribe", "--data", str(small_cifar), "--dry-run"
    ).splitlines()
    assert len(lines) == 2 and lines[0].startswith("env ") and " -np 2 " in lines[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "received", "exit_code"),
    [
        (["run", "cifar10-cnn", "-n", "0"], "-n 0", 2),
        (["run", "cifar10-cnn", "-n", "4096"], "-n 4096", 2),
        (["run", "cifar10-cnn", "--engine", "nccl"], "engine 'nccl'", 2),
        (["run", "cifar10-cnn", "--data", "nowhere"], "--data nowhere", 2),
        (["run", "cifar10-cnn"], "no cifar10 data", 2),
        (["run", "cifar10-cnn", "model.name=resnet21"], "resnet21", 2),
        (["run", "x" * 300], "xxx", 2),
        (["run", "nowhere/my.yaml"], "nowhere/my.yaml", 2),
        (["run", "a.py", "--out", "a"], "--out with a script", 2),
        (["run", "nothing.py"], "no script nothing.py", 2),
        (["run", "cifar10-cnn", "train.epochs"], "train.epochs", 2),
        (["run", "cifar100"], "recipe 'cifar100'", 2),
        (["bench", "scaling", "--ranks", "1,x"], "--ranks 1,x", 2),
        (["bench", "scaling", "--mode", "medium"], "--mode medium", 2),
        (["bench", "scaling", "--input", "fake"], "--input fake", 2),
        (["bench", "scaling", "--warmup", "some"], "--warmup some", 2),
        (["bench", "scaling", "--engines", "mpi,nccl"], "engine 'nccl'", 2),
        (["bench", "scaling", "--engines", "mpi,mpi"], "engines mpi,mpi", 2),
        (["bench", "scaling", "--engines", "mpi", "--engine", "mpi"], "--engines mpi with --engine mpi", 2),
        (["bench", "scaling", "--to-accuracy", "1.5"], "--to-accuracy 1.5", 2),
        (["bench", "scaling", "--to-accuracy", "0.5", "--input", "synthetic"], "synthetic images alone", 2),
        (["bench", "scaling", "--site", "local", "--resume"], "--resume with --site", 2),
        (["bench", "scaling", "--site", "local", "--to-accuracy", "2"], "--to-accuracy 2", 2),
        (["bench", "scaling", "--resume"], "--resume with no --out", 2),
        (["bench", "scaling", "--resume", "--overwrite", "--out", "a"], "--resume with --overwrite", 2),
        (["bench", "suite", "nowhere.yaml", "--out", "a"], "nowhere.yaml", 2),
        (["data", "synth", "imagewoof"], "imagewoof", 2),
        (["report", "nowhere"], "nowhere", 2),
        (["forecast", "nowhere.csv", "--ranks", "8"], "nowhere.csv", 2),
        (["doctor", "--ranks", "4096"], "-n 4096", 2),
        (["doctor", "--engine", "single"], "--engine single", 2),
        (["doctor", "--engine", "nccl"], "engine 'nccl'", 2),
        (["doctor", "--site", "nowhere"], "site 'nowhere'", 2),
        (["recipes", "show", "x"], "recipe 'x'", 2),
        (["recipes", "copy", "x"], "recipe 'x'", 2),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    arguments: list[str], received: str, exit_code: int, call: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(HpcdlError) as caught:
        call(*arguments)
    assert received in caught.value.received
    assert caught.value.expected and caught.value.fix
    assert caught.value.exit_code == exit_code
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_three_lines_on_stderr_and_a_traceback_with_debug(
    hpcdl: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = hpcdl("run", "cifar10-cnn", "-n", "0")
    assert done.returncode == 2 and done.stdout == ""
    assert [line.split(":")[0].strip() for line in done.stderr.splitlines()] == ["hpcdl", "received", "expected", "fix"]
    assert "Traceback" in hpcdl("--debug", "run", "cifar10-cnn", "-n", "0").stderr


def test_importing_hpcdl_and_its_command_line_starts_no_tensorflow() -> None:
    heavy = {"tensorflow", "keras", "mpi4py", "horovod", "numpy", "pydantic"}
    code = f"import sys, hpcdl, hpcdl.cli.app, hpcdl.cli.run; print(sorted({heavy} & sys.modules.keys()))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        (["run", "cifar10-cnn", "-n", "x"], "-n"),
        (["run", "cifar10-cnn", "--ranksss", "2"], "--ranksss"),
        (["run"], "CONFIG"),
        (["walk"], "'walk'"),
        (["bench", "scaling", "--repeats", "0"], "--repeats"),
    ],
)
def test_a_wrong_command_line_has_the_same_form(
    hpcdl: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str], received: str
) -> None:
    done = hpcdl(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["hpcdl", "received", "expected", "fix"]
    assert received in lines[1] and "--help" in lines[3]


def test_a_folder_of_data_that_is_not_there_is_no_reason_to_take_another(
    call: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call("data", "synth", "cifar10", "--train", "50", "--test", "10")
    monkeypatch.setenv("HPCDL_DATA", "typo")
    with pytest.raises(HpcdlError, match="HPCDL_DATA=typo"):
        call("run", "cifar10-cnn", "--dry-run")
