"""What every test may use, and what a machine must have for a test."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcdl.data.sources import synth

SSHD = "/usr/sbin/sshd"
Completed = subprocess.CompletedProcess[str]
signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell's background jobs inherit that it is ignored, and launchers under test would from them."""
PARTS = {
    "horovod": lambda: importlib.util.find_spec("horovod") is not None,
    "apptainer": lambda: shutil.which("apptainer") is not None,
    "chromium": lambda: all(map(shutil.which, ("chromium", "chromedriver"))),
    "real": lambda: "HPCDL_DATA" in os.environ,
    "slurm": lambda: all(map(shutil.which, ("sbatch", "slurmctld", "slurmd", "munged"))) and os.geteuid() == 0,
    "slurmdbd": lambda: all(map(shutil.which, ("slurmdbd", "mariadbd", "my_print_defaults"))) and os.geteuid() == 0,
    "netns": lambda: _does("unshare", "--net", "--uts", "--mount", "--pid", "--ipc", "--fork", "ip", "link"),
    "sshd": lambda: Path(SSHD).exists() and shutil.which("ssh-keygen") is not None,
    "mnist": lambda: (Path(os.environ.get("HPCDL_DATA", "none")) / "mnist").is_dir(),
}


def _does(*command: str) -> bool:
    """Whether a command is here and works."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is marked thorough, unless HPCDL_TESTS_ALL=1 asks for it."""
    if not os.environ.get("HPCDL_TESTS_ALL"):
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs a part which is not here is skipped, or fails where the part was promised."""
    promised = os.environ.get("HPCDL_TESTS_HAVE", "").split(",")
    for part in (part for mark in item.iter_markers("needs") for part in mark.args):
        if not PARTS[part]():
            told = f"{part!r} is not here"
            pytest.fail(f"{told}, and HPCDL_TESTS_HAVE promised it") if part in promised else pytest.skip(told)


def finish(command: list[str], timeout: float, **options: Any) -> Completed:
    """Runs a command; one that hangs is ended in order, so that it takes its ranks along, and reported."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate(timeout=30)
        pytest.fail(f"hung for {timeout} s: {command}\n{out}\n{err}")
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.fixture(scope="session")
def run_command() -> Callable[..., Completed]:
    """`finish`, for fixtures of any scope."""
    return finish


@pytest.fixture(scope="session")
def small_cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stand-in for CIFAR-10: 250 training and 60 test images."""
    folder = tmp_path_factory.mktemp("data")
    synth.cifar(folder, train=250, test=60)
    return folder


@pytest.fixture
def hpcdl(tmp_path: Path) -> Callable[..., Completed]:
    """Runs the command line as a user does, in an empty folder, without the user's data."""

    def run(*arguments: str, timeout: float = 240, **environment: str) -> Completed:
        own = {name: value for name, value in os.environ.items() if name not in {"HPCDL_DATA", "HPCDL_DEBUG"}}
        return finish([sys.executable, "-m", "hpcdl", *arguments], timeout, cwd=tmp_path, env={**own, **environment})

    return run
