"""Ranks on two hosts, which are namespaces of this machine, started over a real sshd."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import psutil
import pytest

from hpcdl.data.sources import synth

if TYPE_CHECKING:
    from conftest import Hosts

pytestmark = [pytest.mark.needs("netns"), pytest.mark.needs("sshd")]
ENGINES = ["mpi", pytest.param("horovod", marks=pytest.mark.needs("horovod"))]
BOTH = ("--hosts", "h1:1,h2:1")
SCRIPT = """
import json, socket, sys
import hpcdl
world = hpcdl.init()
total = hpcdl.allreduce([world.rank + 1.0], "sum")
place = [world.rank, world.local_rank, world.nodes, socket.gethostname(), float(total[0]), *sys.argv[1:]]
rows = hpcdl.allgather_object(place)
if world.is_leader:
    print("rows", json.dumps(rows), flush=True)
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_script_runs_on_both_hosts(hosts: Hosts, tmp_path: Path, engine: str) -> None:
    place = tmp_path / """it's a "folder" """.strip()
    place.mkdir()
    (place / "my script.py").write_text(SCRIPT, encoding="utf-8")
    options = (*BOTH, "--engine", engine, "--interface", "net0")
    done = hosts.run(place, "run", "my script.py", *options, "--", "a b", "$(c) 'd'")
    assert done.returncode == 0, done.stderr
    assert "on 2 ranks of h1, h2" in done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("rows ")]
    assert json.loads(line.removeprefix("rows ")) == [
        [0, 0, 2, "h1", 3.0, "a b", "$(c) 'd'"],
        [1, 0, 2, "h2", 3.0, "a b", "$(c) 'd'"],
    ]


def test_a_recipe_on_two_hosts_is_a_recipe_in_one_process(hosts: Hosts, tmp_path: Path, small_cifar: Path) -> None:
    """Without a common folder for the records, too: h2 has a file system of its own there."""
    shared = ("--threads", "1", "train.deterministic=true", "train.steps=2")
    data = tmp_path / "the 'data'"
    data.symlink_to(small_cifar)
    apart = tmp_path / "its own"
    apart.mkdir()
    hosts.on("h2", "mount", "-t", "tmpfs", "none", str(apart))
    two = apart / "two hosts"
    done = hosts.run(
        tmp_path, "run", "cifar10-dense-1", *BOTH, *shared, "--data", str(data), "--out", str(two), "--json"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["world_size"], told["nodes"]) == (2, 2)
    one = tmp_path / "one"
    alone = hosts.run(tmp_path, "run", "cifar10-dense-1", *shared, "--data", str(data), "--out", str(one), "--json")
    assert alone.returncode == 0, alone.stderr
    assert {name: json.loads(alone.stdout)[name] for name in ("test_loss", "test_accuracy")} == {
        name: told[name] for name in ("test_loss", "test_accuracy")
    }
    for name, weights in _weights(one).items():
        assert np.array_equal(weights, _weights(two)[name]), name
    # What h2's rank wrote there has come back, and nothing that marks folders is left.
    assert {path.name for path in (two / "ranks").iterdir()} == {
        f"{rank}.{each}" for rank in (0, 1) for each in ("log", "steps.csv", "usage.csv")
    }
    assert not list(two.glob(".*"))
    assert json.loads((two / "launch.json").read_text(encoding="utf-8"))["hosts"]["slots"] == {"h1": 1, "h2": 1}


def test_a_run_goes_on_without_a_host_that_is_gone(hosts: Hosts, tmp_path: Path, small_cifar: Path) -> None:
    """To the same bits: its network is cut in the middle of the run."""
    how = ["--threads", "1", "train.deterministic=true", "train.steps=40", "train.stall_timeout=5"]
    how += ["train.global_batch=64", "train.micro_batch=32", "checkpoint.every_steps=5", "--data", str(small_cifar)]
    out, log = tmp_path / "out", tmp_path / "told"
    command = hosts.hpcdl(tmp_path, "run", "cifar10-cnn", *BOTH, *how, "--max-restarts", "1", "--out", str(out))
    with log.open("wb") as told:
        process = subprocess.Popen(command, stdout=told, stderr=told)
    deadline = monotonic() + 120
    try:
        while len(list((out / "checkpoints").glob("update-*"))) < 2:
            assert process.poll() is None and monotonic() < deadline, log.read_text()
            sleep(0.1)
        hosts.on("h1", "ip", "link", "set", "net0", "down")
        assert process.wait(180) == 0, log.read_text()
        left = hosts.processes("h1")
    finally:
        process.kill()
        process.wait()
        hosts.on("h1", "ip", "link", "set", "net0", "up")
    assert "host h2 does not answer, and is left out" in log.read_text() and not left
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["world_size"], summary["updates"], summary["restarts"]) == (1, 40, 1)
    alone = hosts.run(tmp_path, "run", "cifar10-cnn", *how, "--out", str(tmp_path / "one"))
    assert alone.returncode == 0, alone.stderr
    for name, weights in _weights(tmp_path / "one").items():
        assert np.array_equal(weights, _weights(out)[name]), name
    end = monotonic() + 60
    while hosts.processes("h2") and monotonic() < end:  # the rank there has a watchdog too
        sleep(0.5)
    assert not hosts.processes("h2")


def test_a_rank_that_fails_on_its_own_host_is_told(hosts: Hosts, tmp_path: Path) -> None:
    """Its words are in a folder that this host does not see, and its data differ in bytes alone."""
    data, apart = tmp_path / "data", tmp_path / "apart"
    apart.mkdir()
    batch = synth.cifar(data, train=100, test=20) / "data_batch_1.bin"
    other = tmp_path / "other.bin"
    other.write_bytes(b"\xff" + batch.read_bytes()[1:])  # no such class
    hosts.on("h2", "mount", "--bind", str(other), str(batch))
    hosts.on("h2", "mount", "-t", "tmpfs", "none", str(apart))
    options = ("--data", str(data), "--out", str(apart / "a"), "--engine", "mpi")
    done = hosts.run(tmp_path, "run", "cifar10-dense-1", *BOTH, *options)
    assert done.returncode == 2 and "rank 1: " in done.stderr and str(batch) in done.stderr


def test_sigterm_leaves_nothing_behind_on_either_host(hosts: Hosts, tmp_path: Path, small_cifar: Path) -> None:
    options = ("--data", str(small_cifar), "--out", "a", "train.epochs=100000", "--engine", "mpi")
    command = hosts.hpcdl(tmp_path, "run", "cifar10-dense-1", *BOTH, *options)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    events = tmp_path / "a" / "events.jsonl"
    deadline = monotonic() + 120
    while not (events.exists() and '"epoch"' in events.read_text(encoding="utf-8")):
        assert process.poll() is None and monotonic() < deadline
        sleep(0.2)
    assert all(any("hpcdl train" in line for line in hosts.processes(name)) for name in ("h1", "h2"))
    (launcher,) = psutil.Process(process.pid).children()  # nsenter passes no signal on
    launcher.terminate()
    shown, told = process.communicate(timeout=60)
    assert process.returncode == 75 and "SIGTERM" in shown and "Traceback" not in told
    deadline = monotonic() + 30
    while left := [line for name in ("h1", "h2") for line in hosts.processes(name)]:
        assert monotonic() < deadline, left
        sleep(0.2)


@pytest.fixture
def other_keras(hosts: Hosts, tmp_path: Path) -> Iterator[str]:
    """A folder for PYTHONPATH that holds nothing on h1, and another Keras on h2."""
    folder = tmp_path / "extra"
    folder.mkdir()
    hosts.on("h2", "mount", "-t", "tmpfs", "none", str(folder))
    note = folder / "keras-3.0.0.dist-info" / "METADATA"
    text = "Metadata-Version: 2.1\nName: keras\nVersion: 3.0.0\n"
    hosts.on("h2", "sh", "-c", 'mkdir "$(dirname "$1")" && printf %s "$2" > "$1"', "sh", str(note), text)
    yield str(folder)
    hosts.on("h2", "umount", str(folder))


def test_a_host_with_other_software_is_refused(hosts: Hosts, tmp_path: Path, other_keras: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    package = Path(__file__).parents[2]
    done = hosts.run(tmp_path, "run", "script.py", *BOTH, PYTHONPATH=f"{package}:{other_keras}")
    assert done.returncode == 1
    assert "keras 3.0.0 on h2, " in done.stderr and "here" in done.stderr and "tensorflow" not in done.stderr


def test_missing_data_and_a_missing_script_are_told(hosts: Hosts, tmp_path: Path, small_cifar: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "script.py").write_text(SCRIPT, encoding="utf-8")
    hosts.on("h2", "mount", "-t", "tmpfs", "none", str(place))
    done = hosts.run(place, "run", "script.py", *BOTH)
    assert done.returncode == 1 and f"script at {place}/script.py missing on h2" in done.stderr
    hosts.on("h2", "mount", "-t", "tmpfs", "none", str(small_cifar))
    try:
        done = hosts.run(place, "run", "cifar10-dense-1", *BOTH, "--data", str(small_cifar), "--out", "a")
    finally:
        hosts.on("h2", "umount", str(small_cifar))
    assert done.returncode == 1 and "missing on h2" in done.stderr and "data at" in done.stderr
    assert not (place / "a").exists()


def test_a_host_that_does_not_answer_is_named(hosts: Hosts, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = hosts.run(tmp_path, "run", "script.py", "--hosts", "h1,10.77.0.9,h3")
    assert done.returncode == 1
    assert "host 10.77.0.9: " in done.stderr and "host h3: " in done.stderr and "Traceback" not in done.stderr


def _weights(run: Path) -> dict[str, Any]:
    """A saved model's arrays by their place in the file."""
    found = {}
    with zipfile.ZipFile(run / "model.keras") as saved, h5py.File(io.BytesIO(saved.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    assert found
    return found
