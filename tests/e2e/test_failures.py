"""A rank that fails ends the job, with its message, whatever way it leaves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ENGINES = ["mpi", pytest.param("horovod", marks=pytest.mark.needs("horovod"))]
WAYS = {
    "raise": 'raise KeyError("rank one")',
    "exit": "sys.exit(3)",
    "leave": "os._exit(4)",
}
SCRIPT = """
import os, sys
import hpcdl
world = hpcdl.init()
hpcdl.barrier()
if world.rank == 1:
    {way}
hpcdl.allreduce([1.0])
hpcdl.barrier()
print("got past", flush=True)
"""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", WAYS)
def test_a_rank_that_leaves_ends_all(
    hpcdl: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, engine: str, way: str
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(way=WAYS[way]), encoding="utf-8")
    done = hpcdl("run", "script.py", "-n", "2", "--oversubscribe", "--engine", engine, timeout=60)
    assert done.returncode == 1
    assert "got past" not in done.stdout
    if way == "raise":
        assert "KeyError: 'rank one'" in done.stderr


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            'model.compile(optimizer="sgd", loss="mse")\nmodel.fit(data, callbacks=hpcdl.callbacks(), verbose=0)',
            "hpcdl.distribute",
        ),
        ('model.compile(optimizer=hpcdl.distribute(sgd), loss="mse")\nmodel.fit(data, verbose=0)', "hpcdl.callbacks()"),
        ("hpcdl.distribute(hpcdl.distribute(sgd))", "second hpcdl.distribute"),
        ('hpcdl.distribute("sgd")', "keras.optimizers"),
        ("hpcdl.shard((x, x), 5)", "global_batch="),
        ("hpcdl.shard((x, x[1:]), 4)", "check x and y"),
        ("hpcdl.shard(x, 4)", "hpcdl.shard((x, y)"),
    ],
    ids=["undistributed", "no common start", "twice", "a name", "odd batch", "uneven arrays", "no pair"],
)
def test_training_that_would_go_apart_is_refused_with_the_mend(
    hpcdl: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, body: str, told: str
) -> None:
    script = f"""
import keras, numpy as np, hpcdl
hpcdl.init("mpi")
x = np.ones((8, 2), "float32")
sgd = keras.optimizers.SGD()
data = hpcdl.shard((x, x), 4)
model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
{body}
"""
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    done = hpcdl("run", "script.py", "-n", "2", "--oversubscribe", timeout=60)
    assert done.returncode == 1
    assert told in done.stderr and "received:" in done.stderr
