"""A rank that fails ends the job, with its message, whatever way it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest

HOROVOD = pytest.mark.needs("horovod")
WAYS = {
    "raise": 'raise KeyError("rank one")',
    "exit": "sys.exit(3)",
    "leave": "os._exit(4)",
}
SCRIPT = """
import os, sys
import hpcdl
{before}
world = hpcdl.init()
hpcdl.barrier()
if world.rank == 1:
    {way}
hpcdl.allreduce([1.0])
hpcdl.barrier()
print("got past", flush=True)
"""


@pytest.mark.parametrize(
    ("engine", "way"),
    [
        ("mpi", "raise"),
        pytest.param("horovod", "leave", marks=HOROVOD),
        pytest.param("horovod", "raise", marks=[HOROVOD, pytest.mark.thorough]),
        pytest.param("mpi", "exit", marks=pytest.mark.thorough),
    ],
)
def test_a_rank_that_leaves_ends_all(
    hpcdl: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, engine: str, way: str
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(way=WAYS[way], before=""), encoding="utf-8")
    done = hpcdl("run", "script.py", "-n", "2", "--oversubscribe", "--engine", engine)
    assert done.returncode == 1
    assert "got past" not in done.stdout
    if way == "raise":
        assert "KeyError: 'rank one'" in done.stderr


@pytest.mark.parametrize(
    "engine", [pytest.param("mpi", marks=pytest.mark.thorough), pytest.param("horovod", marks=HOROVOD)]
)
def test_a_rank_that_finds_no_gpu_of_its_own_ends_all(
    hpcdl: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, engine: str
) -> None:
    """Pretended: the other rank is in the first collective already."""
    before = """
from hpcdl.training import session
from hpcdl.training.device import choose_gpu
session.pin_gpu = lambda world: world.rank and choose_gpu(2, world.local_rank + 1)
"""
    (tmp_path / "script.py").write_text(SCRIPT.format(way="pass", before=before), encoding="utf-8")
    done = hpcdl("run", "script.py", "-n", "2", "--oversubscribe", "--engine", engine)
    assert done.returncode == 1
    assert "at most one rank a GPU" in done.stderr and "got past" not in done.stdout


def test_ranks_with_other_software_are_refused(
    hpcdl: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Pretended: rank 1 has another Keras."""
    before = """
from hpcdl.launch import hostprobe
from hpcdl.training import session
if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
    session.software = lambda: {**hostprobe.software(), "keras": "3.0.0"}
"""
    (tmp_path / "script.py").write_text(SCRIPT.format(way="pass", before=before), encoding="utf-8")
    done = hpcdl("run", "script.py", "-n", "2", "--oversubscribe", "--engine", "mpi")
    assert done.returncode != 0 and "got past" not in done.stdout
    assert "keras 3.0.0 on rank 1" in done.stderr and "install the same on every host" in done.stderr


def test_a_signal_that_ended_a_script_is_told(tmp_path: Path) -> None:
    """A script that keeps no checkpoints dies of it, and says nothing itself."""
    (tmp_path / "script.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n", encoding="utf-8")
    command = [sys.executable, "-m", "hpcdl", "run", "script.py"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "up\n"
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1 and "SIGTERM, which ended the ranks" in told and "Traceback" not in told


def test_sigterm_stops_the_ranks_of_a_recipe_in_order(tmp_path: Path, small_cifar: Path) -> None:
    options = ["-n", "2", "--oversubscribe", "--data", str(small_cifar), "train.epochs=100000", "--out", "a"]
    command = [sys.executable, "-m", "hpcdl", "run", "cifar10-cnn", *options]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    events = tmp_path / "a" / "events.jsonl"
    deadline = monotonic() + 120
    while not (events.exists() and '"epoch"' in events.read_text(encoding="utf-8")):
        assert process.poll() is None and monotonic() < deadline
        sleep(0.2)
    ours = psutil.Process(process.pid).children(recursive=True)
    assert len(ours) >= 3  # mpirun and two ranks
    process.terminate()
    shown, told = process.communicate(timeout=60)
    assert process.returncode == 75 and "Traceback" not in told
    assert "SIGTERM: ranks that keep checkpoints write one and leave" in shown and "--resume auto" in told
    _, alive = psutil.wait_procs(ours, timeout=30)
    assert not alive


REFUSED = {
    "undistributed": (
        'model.compile(optimizer="sgd", loss="mse"); model.fit(data, callbacks=hpcdl.callbacks(), verbose=0)',
        "hpcdl.distribute",
    ),
    "no common start": (
        'model.compile(optimizer=hpcdl.distribute(sgd()), loss="mse"); model.fit(data, verbose=0)',
        "hpcdl.callbacks()",
    ),
    "twice": ("hpcdl.distribute(hpcdl.distribute(sgd()))", "second hpcdl.distribute"),
    "a name": ('hpcdl.distribute("sgd")', "keras.optimizers"),
    "small batch": ("hpcdl.shard((x, x), 1)", "global_batch=2"),
    "uneven arrays": ("hpcdl.shard((x, x[1:]), 4)", "check x and y"),
    "no pair": ("hpcdl.shard(x, 4, weights=True)", "(x, y) with weights=True"),
    "lists": ("hpcdl.shard(([1, 2], [1, 2]), 2)", "np.asarray"),
}
REFUSING = f"""
import json, sys
import keras, numpy as np, hpcdl
from hpcdl.errors import HpcdlError
world = hpcdl.init("mpi")
x = np.ones((8, 2), "float32")
sgd = keras.optimizers.SGD
data = hpcdl.shard((x, x), 4)
told = {{}}
for name, body in {[(name, body) for name, (body, _) in REFUSED.items()]!r}:
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    try:
        exec(body)
    except HpcdlError as error:
        told[name] = str(error)
json.dump(told, open(f"told-{{world.rank}}.json", "w"))
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory, run_command: Callable[..., Any]) -> list[dict[str, str]]:
    """What each of two ranks was told, by name; one start for all."""
    place = tmp_path_factory.mktemp("refused")
    (place / "script.py").write_text(REFUSING, encoding="utf-8")
    words = [sys.executable, "-m", "hpcdl", "run", "script.py", "-n", "2", "--oversubscribe"]
    done = run_command(words, 240, cwd=place)
    assert done.returncode == 0, done.stderr
    return [json.loads((place / f"told-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", REFUSED)
def test_training_that_would_go_apart_is_refused_with_the_mend(refused: list[dict[str, str]], name: str) -> None:
    assert all(REFUSED[name][1] in told[name] and "received:" in told[name] for told in refused)
