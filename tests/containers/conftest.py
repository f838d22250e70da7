"""One real image for all tests of this folder, built by the command line, and a cluster to run it on.

HPCDL_TESTS_IMAGE=/path.sif takes an image that is there instead.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from login import slurm, user

__all__ = ["slurm", "user"]
Completed = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def builder() -> Iterator[str | None]:
    """An ordinary user to build and to run as, where the tests run as root; made for them, and taken away again."""
    if os.geteuid() != 0:
        yield None
        return
    name = "hpcdltests"
    made = name not in {account.pw_name for account in pwd.getpwall()}
    if made:
        subprocess.run(["useradd", "--create-home", name], check=True)
    yield name
    if made:
        subprocess.run(["userdel", "--remove", name], check=False, capture_output=True)


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder that an ordinary user can enter, as pytest's own cannot be."""
    folder = Path(mkdtemp(prefix="hpcdl-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def image(builder: str | None, place: Path, run_command: Callable[..., Completed]) -> Path:
    if given := os.environ.get("HPCDL_TESTS_IMAGE"):
        return Path(given)
    path = place / "hpcdl-cpu.sif"
    done = run_command([sys.executable, "-m", "hpcdl", "container", "build", "cpu", "--out", str(path)], 1500)
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in place.iterdir()] == [path.name]  # and nothing else stays behind
    return path
