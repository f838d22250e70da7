"""Preparing and verifying shards from the command line: stopped in every way, it goes on to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

from hpcdl.data.shards.prepare import prepare
from hpcdl.data.shards.request import Request
from hpcdl.data.sources import synth
from hpcdl.data.sources.registry import SOURCES

Completed = subprocess.CompletedProcess[str]
OPTIONS = ["--shard-mb", "0.004"]
"""Makes hundreds of shards, of one image or two each: time enough to stop in their midst."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10's stand-in with 650 training and 60 test images."""
    folder = tmp_path_factory.mktemp("many")
    synth.cifar(folder, train=650, test=60)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def in_its_midst(data: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """`data prepare` with two workers, after 20 more shards are finished; the workers must end by themselves."""
    command = [sys.executable, "-m", "hpcdl", "data", "prepare", "cifar10", "--data", str(data), "--out", "out"]
    before = finished(folder)
    process = subprocess.Popen(
        [*command, *OPTIONS, "--workers", "2"],
        cwd=folder,
        start_new_session=True,
        # A shell's background job, as CI may be, ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    family: list[psutil.Process] = []
    try:
        deadline = monotonic() + 120
        while finished(folder) < before + 20:
            assert process.poll() is None and monotonic() < deadline
            sleep(0.005)
        family = psutil.Process(process.pid).children(recursive=True)
        yield process, [child for child in family if any("spawn_main" in word for word in child.cmdline())]
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive
    finally:  # nothing stays behind, whatever failed
        for left in (process, *family):
            with suppress(psutil.NoSuchProcess):
                left.kill()
        process.communicate()


def finished(folder: Path) -> int:
    """Shards whose records are written."""
    return len(list((folder / "out" / ".parts").glob("*-*.json")))


def test_however_it_is_stopped_it_goes_on_to_the_same_bytes(
    hpcdl: Callable[..., Completed], tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SOURCES["cifar10"].find(data)
    assert path is not None
    monkeypatch.setattr(os, "fsync", lambda file: None)  # of this process, to be quicker
    prepare(Request("cifar10", path, tmp_path / "expected", shard_mb=0.004), lambda counts, total: None)
    with in_its_midst(data, tmp_path) as (process, workers):
        assert len(workers) == 2
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    with in_its_midst(data, tmp_path) as (process, _):  # the workers must notice
        process.kill()
        process.communicate(timeout=60)
    with in_its_midst(data, tmp_path) as (process, workers):
        workers[0].send_signal(signal.SIGINT)  # Ctrl-C is not for workers
        before, deadline = finished(tmp_path), monotonic() + 60
        while finished(tmp_path) < before + 5:
            assert process.poll() is None and monotonic() < deadline
        workers[0].kill()
        _, told = process.communicate(timeout=60)
        assert process.returncode == 2 and "was killed" in told and "--workers" in told and "Traceback" not in told
    with in_its_midst(data, tmp_path) as (process, workers):
        workers[0].suspend()  # as if it had long to go
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, told = process.communicate(timeout=60)
        assert process.returncode == 130 and "goes on from there" in out and told == ""
    assert not (tmp_path / "out" / "manifest.json").exists() and not list(tmp_path.rglob("*.tmp"))
    command = ["data", "prepare", "cifar10", "--data", str(data), "--out", "out", *OPTIONS]
    other = hpcdl(*command, "--seed", "1")
    assert other.returncode == 2 and "seed 0, and not 1" in other.stderr
    done = hpcdl(*command, "--workers", "1", "--json")
    summary = json.loads(done.stdout)
    assert summary["train"] == 650 and summary["test"] == 60 and summary["kept"] >= 80
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")
    again = hpcdl(*command)
    assert again.returncode == 0 and "complete already" in again.stdout
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


def test_workers_write_what_one_process_writes_and_verify_it(
    hpcdl: Callable[..., Completed], tmp_path: Path, small_cifar: Path
) -> None:
    done = hpcdl(
        *("data", "prepare", "cifar10", "--data", str(small_cifar), "--out", "out", "--workers", "2"),
        *("--classes", "cat,dog", "--per-class", "10", "--store", "jpeg", "--size", "16", "--shard-mb", "0.01"),
    )
    assert done.returncode == 0 and "20 training and" in done.stdout and "as jpeg in" in done.stdout
    verified = hpcdl("data", "verify", "out", "--workers", "2")
    assert (
        verified.returncode == 0 and len(verified.stdout.splitlines()) == 1 and "nothing is damaged" in verified.stdout
    )
    shard = sorted((tmp_path / "out").glob("train-*"))[1]
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    (tmp_path / "out" / "more").touch()
    verified = hpcdl("data", "verify", "out", "--workers", "2", "--json")
    answer = json.loads(verified.stdout)
    assert verified.returncode == 1
    assert [finding["file"] for finding in answer["findings"]] == [shard.name, "more"]
    assert "record" in answer["findings"][0]["what"]


def test_a_source_is_verified_and_what_is_no_set_is_told(
    hpcdl: Callable[..., Completed], tmp_path: Path, small_cifar: Path
) -> None:
    whole = hpcdl("data", "verify", "cifar10", "--data", str(small_cifar))
    assert whole.returncode == 0 and "310 images, nothing is damaged" in whole.stdout
    nothing = hpcdl("data", "verify", "out")
    assert nothing.returncode == 2 and "'out'" in nothing.stderr and "Traceback" not in nothing.stderr
