"""One real cluster for all tests of this folder, and a user of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, cluster
from login import User


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    with cluster() as here:
        yield here


@pytest.fixture
def user(tmp_path: Path, slurm: Cluster, run_command: Callable[..., Any]) -> User:
    return User(tmp_path, slurm, run_command)
