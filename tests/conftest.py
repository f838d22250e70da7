"""What every test may use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdl.data import cifar10

Completed = subprocess.CompletedProcess[str]
HPCDL = [sys.executable, "-m", "hpcdl"]


@pytest.fixture(scope="session")
def small_cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stand-in for CIFAR-10: 250 training and 60 test images."""
    folder = tmp_path_factory.mktemp("data")
    cifar10.synthesize(folder, train=250, test=60)
    return folder


@pytest.fixture
def hpcdl(tmp_path: Path) -> Callable[..., Completed]:
    """Runs the command line as a user does, in an empty folder, without the user's data."""

    def run(*arguments: str, timeout: float = 240, **environment: str) -> Completed:
        own = {name: value for name, value in os.environ.items() if name not in {"HPCDL_DATA", "HPCDL_DEBUG"}}
        return subprocess.run(
            [*HPCDL, *arguments],
            cwd=tmp_path,
            env={**own, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
