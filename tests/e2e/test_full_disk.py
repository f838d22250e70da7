"""A disk that fills while a run writes to it: training goes on, and what was kept stays whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.needs("netns")

BEFORE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
from hpcdl.checkpoint import newest, problems

disk, data, report = map(Path, sys.argv[1:4])
run, ballast = disk / "run", disk / "ballast"
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={sys.argv[4]}", "tmpfs", disk], check=True)

def command(*options):
    common = ["train", "cifar10-cnn", "--out", str(run), "--data", str(data), "checkpoint.every_steps=1"]
    return [sys.executable, "-m", "hpcdl", *common, *options]

def events():
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]

def kinds():
    return [event["event"] for event in events()]

def fill():
    with ballast.open("ab", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass

def until(true):
    deadline = time.monotonic() + 120
    while not true():
        assert process.poll() is None and time.monotonic() < deadline, said.read_text()
        time.sleep(0.02)

def tell(**found):
    whole = sorted(path.name for path in (run / "checkpoints").iterdir() if not problems(path))
    every = sorted(path.name for path in (run / "checkpoints").iterdir())
    steps = (run / "ranks" / "0.steps.csv").read_text().splitlines()
    report.write_text(json.dumps({**found, "whole": whole, "every": every, "events": events(), "steps": steps}))

said = report.with_name("said")
"""


@pytest.fixture
def on_a_disk(
    tmp_path: Path, small_cifar: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> Callable[..., dict[str, Any]]:
    """Runs a script that has a small file system of its own, and answers what it has told."""
    (tmp_path / "disk").mkdir()

    def run(script: str, size: str) -> dict[str, Any]:
        arguments = [str(tmp_path / "disk"), str(small_cifar), str(tmp_path / "report"), size]
        command = ["unshare", "--mount", sys.executable, "-c", BEFORE + script, *arguments]
        own = {name: value for name, value in os.environ.items() if name != "HPCDL_DEBUG"}
        done = run_command(command, 400, cwd=tmp_path, env=own)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads((tmp_path / "report").read_text())
        return found

    return run


def test_a_disk_that_fills_leaves_the_last_good_checkpoint_and_a_clear_end(
    on_a_disk: Callable[..., dict[str, Any]],
) -> None:
    found = on_a_disk(
        """
how = ("checkpoint.keep=1000", "train.epochs=4")
done = subprocess.run(command(*how), capture_output=True, text=True)
first = events()
kept = newest(run / "checkpoints")[0].path.name
for path in sorted((run / "checkpoints").iterdir())[:-1]:
    subprocess.run(["rm", "-r", path])
how = ("checkpoint.keep=1", "train.epochs=4", "--resume", "auto")
again = subprocess.run(command(*how), capture_output=True, text=True)
tell(code=done.returncode, said=done.stderr, shown=done.stdout, kept=kept, first=first, again=again.returncode,
     told=again.stderr, summary=json.loads((run / "summary.json").read_text()))
""",
        "12m",
    )
    kinds = [event["event"] for event in found["first"]]
    assert "checkpoint" in kinds and "no_checkpoint" in kinds and "end" not in kinds
    assert [event["update"] for event in found["first"] if event["event"] == "epoch"][-1] == 4 * 8
    assert found["code"] == 1 and "Traceback" not in found["said"]
    assert "the last checkpoint (No space left on device)" in found["said"] and "fix:" in found["said"]
    assert found["shown"].count("no checkpoint at update") >= 1
    good = [event["name"] for event in found["first"] if event["event"] == "checkpoint"]
    assert found["kept"] == good[-1]
    assert found["again"] == 0, found["told"]
    assert found["events"][: len(found["first"])] == found["first"]
    after = [event["event"] for event in found["events"][len(found["first"]) :]]
    assert "restart" in after and after[-1] == "end" and "no_checkpoint" not in after
    assert found["every"] == found["whole"] and found["whole"][-1] == f"update-{4 * 8:08d}"
    assert "lost" not in found["summary"]


def test_a_disk_without_a_byte_left_loses_no_record_once_there_is_room(
    on_a_disk: Callable[..., dict[str, Any]],
) -> None:
    found = on_a_disk(
        """
with said.open("w") as file:
    process = subprocess.Popen(command("train.epochs=100000"), stdout=file, stderr=file)
until(lambda: (run / "events.jsonl").exists() and "checkpoint" in kinds())
while said.read_text().count("cannot be written") < 2:  # both records
    fill()
    time.sleep(0.02)
ballast.unlink()
until(lambda: "no_checkpoint" in kinds() and kinds()[-1] == "checkpoint")
process.send_signal(signal.SIGUSR2)
code = process.wait(100)
tell(code=code, said=said.read_text())
""",
        "20m",
    )
    assert found["code"] == 75, found["said"]
    assert "Traceback" not in found["said"], found["said"]
    assert "no checkpoint at update" in found["said"]
    assert found["said"].count("written again") == 2
    last = found["events"][-1]
    assert last["event"] == "checkpoint" and last["name"] == found["whole"][-1] and found["every"] == found["whole"]
    assert [int(line.split(",")[0]) for line in found["steps"][1:]] == list(range(last["update"]))


def test_a_folder_that_vanished_is_made_again_for_what_was_learned(on_a_disk: Callable[..., dict[str, Any]]) -> None:
    found = on_a_disk(
        """
with said.open("w") as file:
    process = subprocess.Popen(command("train.epochs=15", "checkpoint.every_steps=1000000"), stdout=file, stderr=file)
until(lambda: (run / "events.jsonl").exists() and "start" in kinds())
run.rename(disk / "elsewhere")
code = process.wait(200)
tell(code=code, said=said.read_text(), names=sorted(path.name for path in run.iterdir()))
""",
        "60m",
    )
    assert found["code"] == 0, found["said"]
    assert "cannot be written: No such file or directory" in found["said"] and "has vanished" in found["said"]
    wanted = {"config.yaml", "environment.json", "events.jsonl", "model.keras", "summary.json", "checkpoints", "ranks"}
    assert wanted <= set(found["names"]) and found["every"] == found["whole"] != []
    assert found["events"][-1]["event"] == "end"
