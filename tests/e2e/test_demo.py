"""The demo's commands on a small configuration, and the report's figures read back."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ["--oversubscribe", "train.global_batch=32", "train.micro_batch=8"]


def test_run_bench_and_report(hpcdl: Run, small_cifar: Path, tmp_path: Path) -> None:
    where = ["--data", str(small_cifar)]
    done = hpcdl("run", "cifar10-cnn", "-n", "2", "train.epochs=2", *SMALL, *where, "--out", "runs/demo")
    assert done.returncode == 0, done.stderr
    assert "synthetic stand-in" in done.stdout and "chosen: " in done.stdout
    assert "epoch 2/2" in done.stdout and "\r" not in done.stdout and "\x1b" not in done.stdout
    run = tmp_path / "runs" / "demo"
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert (summary["world_size"], summary["updates"], summary["images"]) == (2, 16, 500)
    assert summary["images_per_s"] > 0 and 0 <= summary["test_accuracy"] <= 1
    assert sorted(path.name for path in (run / "ranks").iterdir()) == [
        "0.log",
        "0.steps.csv",
        "0.usage.csv",
        "1.log",
        "1.steps.csv",
    ]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    kinds = [event["event"] for event in events if event["event"] != "progress"]
    assert kinds == ["launch", "start", "epoch", "epoch", "checkpoint", "end"]
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    assert "synthetic" in environment["data"] and [place["rank"] for place in environment["ranks"]] == [0, 1]

    again = hpcdl("run", "cifar10-cnn", "-n", "2", *SMALL, *where, "--out", "runs/demo")
    assert again.returncode == 2 and "holds an earlier run" in again.stderr

    bench = [
        "bench",
        "scaling",
        "cifar10-cnn",
        "--ranks",
        "1,2",
        "--repeats",
        "2",
        "--steps",
        "4",
        "--warmup",
        "2",
        *SMALL,
        *where,
    ]
    done = hpcdl(*bench, "--out", "runs/scaling", "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results == json.loads((tmp_path / "runs/scaling/results.json").read_text(encoding="utf-8"))
    one, two = results["results"]
    assert (one["ranks"], two["ranks"], one["global_batch"], two["global_batch"]) == (1, 2, 8, 16)
    assert two["speedup"] == pytest.approx(two["images_per_s"]["median"] / one["images_per_s"]["median"])
    assert two["efficiency"] == pytest.approx(two["speedup"] / 2)
    assert len(two["repetitions"]) == 2
    for repetition in two["repetitions"]:
        assert [len(rank["step"]) for rank in repetition["ranks"]] == [4, 4]
        slowest = max(sum(rank["step"]) for rank in repetition["ranks"])
        assert repetition["images_per_s"] == pytest.approx(4 * 16 / slowest)

    done = hpcdl("report", "runs/scaling")
    assert done.returncode == 0, done.stderr
    written = {Path(line).name for line in done.stdout.splitlines()}
    assert {"report.html", "throughput.png", "efficiency.png", "results.csv", "report.md"} <= written
    with (tmp_path / "runs/scaling/results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["ranks"]) for row in rows] == [1, 2]
    assert float(rows[1]["images_per_s"]) == pytest.approx(two["images_per_s"]["median"], rel=1e-3)
    page = (tmp_path / "runs/scaling/report.html").read_text(encoding="utf-8")
    assert "synthetic" in page and "cifar10-cnn" in page


def test_a_terminal_gets_a_live_bar(small_cifar: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hpcdl", "run", "cifar10-cnn", "--data", str(small_cifar), "train.epochs=40"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen([*command, "--out", "a"], cwd=tmp_path, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait(60) == 0
    text = shown.decode()
    assert "\x1b[" in text  # drawn in place
    bars = [line for line in re.split(r"[\r\n]", text) if "━" in line and "/320" in line]
    assert any("loss" in bar and "accuracy" in bar and "images/s" in bar for bar in bars)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that the other side has closed
        return b""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "cifar10-cnn", "--out", "file/a"], "--out"),
        (["bench", "scaling", "--ranks", "1", "--out", "file/a"], "--out"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused_before_the_start(
    hpcdl: Run, small_cifar: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    (tmp_path / "file").touch()
    done = hpcdl(*arguments, "--data", str(small_cifar))
    assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_damaged_data_end_a_run_with_one_message(hpcdl: Run, tmp_path: Path) -> None:
    assert hpcdl("data", "synth", "cifar10", "--out", "data", "--train", "50", "--test", "10").returncode == 0
    path = tmp_path / "data/cifar-10-batches-bin/data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    done = hpcdl("run", "cifar10-cnn", "-n", "2", "--oversubscribe", "--out", "runs/a")
    assert done.returncode == 2
    assert done.stderr.count("received:") == 1 and "data_batch_2.bin" in done.stderr and "truncated" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "runs/a/model.keras").exists()


def test_training_that_diverges_ends_with_the_update(hpcdl: Run, small_cifar: Path) -> None:
    done = hpcdl("run", "cifar10-resnet20", "--data", str(small_cifar), "optimizer.learning_rate=1e30", "--out", "a")
    assert done.returncode == 1
    assert (
        "a finite loss" in done.stderr and "optimizer.learning_rate" in done.stderr and "Traceback" not in done.stderr
    )


@pytest.mark.needs("real")
def test_real_cifar10_is_learned(hpcdl: Run) -> None:
    """A fifth of an epoch of the book's network is far above chance, on 2 ranks."""
    done = hpcdl(
        "run",
        "cifar10-cnn",
        "-n",
        "2",
        "--oversubscribe",
        "train.steps=320",
        "--json",
        "--out",
        "a",
        HPCDL_DATA=os.environ["HPCDL_DATA"],
    )
    assert done.returncode == 0, done.stderr
    assert "real cifar10: 50000 training and 10000 test images" in done.stderr
    assert json.loads(done.stdout)["test_accuracy"] > 0.3
