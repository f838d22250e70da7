"""A user's own fit, stopped in the middle of an epoch and started again, ends as one that nothing interrupted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import keras
import numpy as np
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
SCRIPT = Path(__file__).parent / "resuming_script.py"
HOROVOD = pytest.mark.needs("horovod")


def fit(
    hpcdl: Run, folder: Path, harm: str, kind: str, ranks: int, engine: str, *more: str
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    options = ["-n", str(ranks), "--oversubscribe", "--threads", "1", "--engine", engine, *more]
    return hpcdl("run", str(SCRIPT), *options, "--", str(folder), harm, kind)


def result(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return told


@pytest.mark.parametrize(
    ("kind", "harm", "ranks", "engine"),
    [
        ("arrays", "death", 1, "single"),
        ("executions", "signal", 2, "mpi"),
        pytest.param("repeat", "signal", 3, "horovod", marks=HOROVOD),
    ],
)
def test_a_fit_that_is_started_again_ends_with_the_same_bits(
    hpcdl: Run, tmp_path: Path, kind: str, harm: str, ranks: int, engine: str
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert fit(hpcdl, whole, "none", kind, ranks, engine).returncode == 0
    stopped = fit(hpcdl, parts, harm, kind, ranks, engine)
    assert stopped.returncode == (75 if harm == "signal" else 1), stopped.stderr
    assert not (parts / "result.json").exists()
    assert ("start the script again" in stopped.stderr) == (harm == "signal")
    again = fit(hpcdl, parts, harm, kind, ranks, engine)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("goes on from") == 1
    assert result(parts) == result(whole)
    assert len(result(whole)["history"]["val_loss"]) > 4  # it went on after it was stopped


@pytest.mark.needs("horovod")
def test_the_launcher_starts_a_fit_again(hpcdl: Run, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert fit(hpcdl, whole, "none", "dataset", 2, "horovod").returncode == 0
    done = fit(hpcdl, parts, "death", "dataset", 2, "horovod", "--max-restarts", "1")
    assert done.returncode == 0 and done.stderr.count("restart 1 of 1 in 1 s, from update") == 1, done.stderr
    assert done.stderr.count("goes on from") == 1
    assert result(parts) == result(whole)


def test_fewer_ranks_go_on_and_an_ended_fit_is_not_trained_again(hpcdl: Run, tmp_path: Path) -> None:
    """Up to the order of sums; a damaged checkpoint is set aside, and the one before is taken."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert fit(hpcdl, whole, "none", "plain", 1, "single").returncode == 0
    assert fit(hpcdl, parts, "signal", "plain", 2, "mpi").returncode == 75
    newest = max((parts / "kept").iterdir())
    (newest / "state.npz").write_bytes(b"")
    done = fit(hpcdl, parts, "signal", "plain", 1, "single")
    assert done.returncode == 0 and "is not whole and was set aside: state.npz has 0 bytes" in done.stderr
    found, expected = result(parts), result(whole)
    for key, values in expected["history"].items():
        np.testing.assert_allclose(found["history"][key], values, rtol=1e-3, atol=1e-4)
    for mine, theirs in zip(found["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)
    again = fit(hpcdl, parts, "none", "plain", 1, "single")
    assert again.returncode == 0 and "nothing is left to do" in again.stderr
    assert result(parts) == found
    # Plain Keras reads the weights.
    plain = keras.Sequential([keras.layers.Input((20,)), keras.layers.Dense(32), keras.layers.Dense(2)])
    plain.load_weights(max((parts / "kept").iterdir()) / "model.weights.h5")
    for mine, theirs in zip(plain.get_weights(), found["weights"], strict=True):
        np.testing.assert_array_equal(mine, np.array(theirs, "float32"))


def test_a_silent_rank_ends_the_fit(hpcdl: Run, tmp_path: Path) -> None:
    done = fit(hpcdl, tmp_path / "a", "silence", "arrays", 2, "mpi")
    assert done.returncode == 1
    told = done.stderr.replace("\n", " ")
    assert "rank 0 received: nothing done for 20 s; the last was the begin of batch 6 of epoch 3" in told  # it waits
    assert "rank 1 received: nothing done for 20 s; the last was batch 5 of epoch 3" in told
    assert "hpcdl.callbacks(stall_timeout=…)" in done.stderr
    assert "resuming_script.py" in done.stderr and "on_train_batch_end" in done.stderr  # its stack


FAILING = """
import os, signal, sys, time, keras, numpy as np, hpcdl
hpcdl.init()
x = np.ones((8, 2), "float32")

class Fails(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise ValueError("mine")

def fit(folder, seconds, *more):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    model.compile(optimizer=hpcdl.distribute(keras.optimizers.SGD()), loss="mse")
    kept = hpcdl.callbacks(folder, stall_timeout=seconds)
    model.fit(hpcdl.shard((x, x), 4), callbacks=[*kept, *more], verbose=0)

try:
    fit("first", 6.0, Fails())
except ValueError:
    time.sleep(9)  # a watchdog would have ended this rank by then
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)  # where the signal comes at the latest
except KeyboardInterrupt:
    fit("second", 300.0)
    print("both")
"""


def test_after_a_fit_that_failed_nobody_watches_and_ctrl_c_is_pythons_own(hpcdl: Run, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(FAILING, encoding="utf-8")
    done = hpcdl("run", "script.py", "-n", "2", "--oversubscribe", "--engine", "mpi")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("both") == 2 and list(tmp_path.glob("second/update-*"))


def test_ctrl_c_at_the_launcher_stops_a_fit_in_order(tmp_path: Path) -> None:
    script = (
        SCRIPT.read_text(encoding="utf-8")
        .replace('"epochs": 8', '"epochs": 100000')
        .replace("patience=3", "patience=99999")
    )
    (tmp_path / "long.py").write_text(script, encoding="utf-8")
    options = ["-n", "2", "--oversubscribe", "--engine", "mpi", "--", str(tmp_path), "none", "arrays"]
    command = [sys.executable, "-m", "hpcdl", "run", "long.py", *options]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = monotonic() + 120
        while not list(tmp_path.glob("kept/update-*")):
            assert process.poll() is None and monotonic() < deadline
            sleep(0.2)
        process.send_signal(2)
        _, told = process.communicate(timeout=60)
    finally:
        process.terminate()
    assert process.returncode == 75 and "Traceback" not in told
    assert "SIGINT: ranks that keep checkpoints write one and leave" in told and "start the script again" in told


REFUSALS = {
    "no weights": ("fit(keras.Sequential([keras.layers.Dense(1)]), shard)", "begin it with keras.Input(shape)"),
    "data": ("fit(model(), (x, x))", "data that do not come from hpcdl.shard"),
    "twice": ("[fit(model(), shard) for _ in range(2)]", "a second fit with checkpoint_dir="),
    "backup": ("fit(model(), shard, keras.callbacks.BackupAndRestore('b'))", "leave BackupAndRestore out"),
    "never": ("hpcdl.callbacks('a', every_seconds=None)", "never a checkpoint"),
    "nowhere": ("hpcdl.callbacks(every_epochs=1)", "every_epochs=1 without checkpoint_dir"),
    "keep": ("hpcdl.callbacks('a', keep=0)", "keep=0"),
    "another": ("fit(model(), shard); again(); fit(model(3), shard)", "weights of another network"),
    "other data": ("fit(model(), shard); again(2); fit(model(), shard)", "whose data had"),
}
REFUSING = """
import json, os, keras, numpy as np, hpcdl
from hpcdl.errors import HpcdlError
from hpcdl.training.session import current
hpcdl.init()
x = np.ones((8, 2), "float32")

def model(units=4):
    return keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(units), keras.layers.Dense(2)])

def fit(model, data, *more):
    model.compile(optimizer=hpcdl.distribute(keras.optimizers.SGD()), loss="mse")
    arrays = data if isinstance(data, tuple) else (data,)
    model.fit(*arrays, callbacks=[*hpcdl.callbacks("kept"), *more], verbose=0)

def again(batch=4):  # as another process
    current().kept.clear()
    current().passes.clear()
    global shard
    shard = hpcdl.shard((x, x), batch)

told = {}
for number, (name, body) in enumerate(json.load(open("bodies.json")).items()):
    os.mkdir(str(number))
    os.chdir(str(number))
    again()
    try:
        exec(body)
    except HpcdlError as error:
        told[name] = str(error)
    os.chdir("..")
json.dump(told, open("told.json", "w"))
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory, run_command: Run) -> dict[str, str]:
    """What each is told; in one process, for TensorFlow's import takes seconds."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "script.py").write_text(REFUSING, encoding="utf-8")
    (folder / "bodies.json").write_text(json.dumps({name: body for name, (body, _) in REFUSALS.items()}))
    done = run_command([sys.executable, "-m", "hpcdl", "run", "script.py"], 240, cwd=folder)
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads((folder / "told.json").read_text())
    return told


@pytest.mark.parametrize("name", REFUSALS)
def test_what_could_not_go_on_is_refused(refused: dict[str, str], name: str) -> None:
    assert REFUSALS[name][1] in refused[name]


def test_a_refusal_is_no_traceback(hpcdl: Run, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import hpcdl; hpcdl.init()\nhpcdl.callbacks('a', keep=0)", encoding="utf-8")
    done = hpcdl("run", "script.py", "--max-restarts", "2")
    assert done.returncode == 1 and done.stderr.count("keep=0") == 1 and "Traceback" not in done.stderr
