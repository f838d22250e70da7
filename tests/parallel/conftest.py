"""Worlds of ranks: each module's work is done once in each world, and judged by that module's tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcdl.data.cifar10_synth import synthesize

HERE = Path(__file__).parent
Found = list[dict[str, Any]]
SIZES = [int(size) for size in os.environ.get("HPCDL_TESTS_RANKS", "1,2,3,4").split(",")]
WORLDS = [
    pytest.param(
        (engine, size), id=f"{engine}-{size}", marks=pytest.mark.needs("horovod") if engine == "horovod" else ()
    )
    for size in SIZES
    for engine in (("single",) if size == 1 else ("mpi", "horovod"))
]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for CIFAR-10: 250 training and 60 test images."""
    return synthesize(tmp_path_factory.mktemp("data"), train=250, test=60)


@pytest.fixture(scope="module", params=WORLDS)
def ranks(
    request: pytest.FixtureRequest,
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    run_command: Callable[..., Any],
) -> Found:
    """What each rank of a world found, doing the work that the module names in WORK."""
    engine, size = request.param
    out = tmp_path_factory.mktemp(f"{engine}{size}")
    chosen = [] if engine == "single" else ["--engine", engine]
    more = getattr(request.module, "OPTIONS", [])
    options = ["-n", str(size), "--oversubscribe", *chosen, *more, "--", str(out), str(data)]
    done = run_command([sys.executable, "-m", "hpcdl", "run", str(HERE / request.module.WORK), *options], 400)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = [dict(np.load(out / f"{rank}.npz")) for rank in range(size)]
    return [{**each, "out": out} for each in found]
