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


def fit(hpcdl: Run, folder: Path, harm: str, kind: str, ranks: int, engine: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    options = ["-n", str(ranks), "--oversubscribe", "--threads", "1", "--engine", engine]
    return hpcdl("run", str(SCRIPT), *options, "--", str(folder), harm, kind)


def result(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return told


@pytest.mark.parametrize(
    ("kind", "harm", "ranks", "engine"),
    [
        ("arrays", "death", 1, "single"),
        ("repeat", "signal", 1, "single"),
        ("executions", "signal", 2, "mpi"),
        pytest.param("dataset", "death", 2, "horovod", marks=HOROVOD),
        pytest.param("arrays", "signal", 4, "horovod", marks=HOROVOD),
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
    assert "rank 0 received: nothing done for 5 s; the last was the begin of batch 6 of epoch 3" in told  # it waits
    assert "rank 1 received: nothing done for 5 s; the last was batch 5 of epoch 3" in told
    assert "hpcdl.callbacks(stall_timeout=…)" in done.stderr
    assert "resuming_script.py" in done.stderr and "on_train_batch_end" in done.stderr  # its stack


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
    deadline = monotonic() + 120
    while not list(tmp_path.glob("kept/update-*")):
        assert process.poll() is None and monotonic() < deadline
        sleep(0.2)
    process.send_signal(2)
    _, told = process.communicate(timeout=60)
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
    "another": ("fit(model(), shard); fit(model(3), shard, again=True)", "weights of another network"),
    "other data": ("fit(model(), shard); fit(model(), hpcdl.shard((x, x), 2), again=True)", "whose data had"),
}
REFUSING = """
import keras, numpy as np, hpcdl
from hpcdl.training.session import current
hpcdl.init()
x = np.ones((8, 2), "float32")
shard = hpcdl.shard((x, x), 4)
def model(units=4):
    return keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(units), keras.layers.Dense(2)])
def fit(model, data, *more, again=False):
    if again:  # as another process
        current().kept.clear()
        current().passes[:] = current().passes[-1:]
    model.compile(optimizer=hpcdl.distribute(keras.optimizers.SGD()), loss="mse")
    arrays = data if isinstance(data, tuple) else (data,)
    model.fit(*arrays, callbacks=[*hpcdl.callbacks("kept"), *more], verbose=0)
"""


@pytest.mark.parametrize("name", REFUSALS)
def test_what_could_not_go_on_is_refused(hpcdl: Run, tmp_path: Path, name: str) -> None:
    body, told = REFUSALS[name]
    (tmp_path / "script.py").write_text(REFUSING + body, encoding="utf-8")
    done = hpcdl("run", "script.py")
    assert done.returncode != 0 and told in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
