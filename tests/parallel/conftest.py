"""Worlds of ranks: each module's work is done once in each world, and judged by that module's tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcdl.data.sources import synth

HERE = Path(__file__).parent
Found = list[dict[str, Any]]
TOLD = os.environ.get("HPCDL_TESTS_RANKS")
CHOSEN = [("single", 1), ("horovod", 2), ("mpi", 4)]
"""Each engine; mpi at 2 is what the newest stack is tested with."""
EVERY = [
    (engine, int(size))
    for size in (TOLD or "").split(",")
    if size
    for engine in (("single",) if size == "1" else ("mpi", "horovod"))
]
WORLDS = [
    pytest.param(
        (engine, size), id=f"{engine}-{size}", marks=pytest.mark.needs("horovod") if engine == "horovod" else ()
    )
    for engine, size in EVERY or CHOSEN
]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what a module does not need in a world of some size; HPCDL_TESTS_RANKS leaves out nothing."""

    def needed(item: Any) -> bool:
        ask = getattr(getattr(item, "module", None), "needed", None)
        return bool(TOLD) or ask is None or ask(item.callspec.params["world"][1], item.callspec.params)

    left_out = [item for item in items if not needed(item)]
    items[:] = [item for item in items if needed(item)]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for CIFAR-10: 250 training and 60 test images."""
    return synth.cifar(tmp_path_factory.mktemp("data"), train=250, test=60)


@pytest.fixture(scope="session", params=WORLDS)
def world(
    request: pytest.FixtureRequest,
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    run_command: Callable[..., Any],
) -> Path:
    """Where the ranks of a world left what they found, doing the work of all modules whose tests are run.

    One start for all: TensorFlow's import takes seconds on every rank. One thread a rank, for bits
    may depend on the number of threads.
    """
    engine, size = request.param
    out = tmp_path_factory.mktemp(f"{engine}{size}")
    items: list[Any] = request.session.items
    here = [item for item in items if hasattr(item.module, "WORK") and item.callspec.params["world"] == request.param]
    works = {item.module.WORK for item in here}
    # The first looks at TensorFlow before it starts; the last makes its operations deterministic.
    order = sorted(works, key=lambda work: (work != "collectives_work.py", work == "recipes_work.py", work))
    chosen = [] if engine == "single" else ["--engine", engine]
    options = ["-n", str(size), "--oversubscribe", "--threads", "1", *chosen, "--", str(out), str(data), *order]
    done = run_command([sys.executable, "-m", "hpcdl", "run", str(HERE / "worker.py"), *options], 900)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return out


@pytest.fixture(scope="module")
def ranks(request: pytest.FixtureRequest, world: Path) -> Found:
    """What each rank of a world found, doing the work that the module names in WORK."""
    out = world / request.module.WORK
    found = [dict(np.load(path)) for path in sorted(out.glob("[0-9].npz"))]
    return [{**each, "out": out} for each in found]
