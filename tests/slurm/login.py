"""The command line as a user of the cluster has it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from cluster import Cluster, cluster

from hpcdl.data.sources import synth

RECIPE = """
name: small
data: {source: cifar10}
model: {name: cifar10-cnn}
optimizer: {name: sgd, learning_rate: 0.05}
train: {epochs: 2, global_batch: 40, micro_batch: 10}
"""


class User:
    """Somebody on the login node, in a folder of their own."""

    def __init__(self, home: Path, slurm: Cluster, run: Callable[..., Any]) -> None:
        self.home, self.slurm, self._run = home, slurm, run
        (home / "recipe.yaml").write_text(RECIPE)
        synth.cifar(home / "data", train=400, test=60)

    def __call__(self, *arguments: str, code: int | None = 0, timeout: float = 240, **environment: str) -> Any:
        """Runs hpcdl; answers the finished process."""
        done = self._run(
            [sys.executable, "-m", "hpcdl", *arguments], timeout, cwd=self.home, env={**self.env(), **environment}
        )
        assert code is None or done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def env(self) -> dict[str, str]:
        """Reaches the cluster, and keeps the list of jobs in the test's folder."""
        own = {name: value for name, value in os.environ.items() if name != "HPCDL_DATA"}
        return {**own, **self.slurm.env, "XDG_STATE_HOME": str(self.home / "state")}

    def site(self, start: str, pmi: str = "pmix", gpus: int = 0) -> str:
        """A site file of the user's own for this cluster; answers its path."""
        name = f"{start}-{pmi}-{gpus}"
        about = "{title: a test, source: here, date: '2026-11-24', unverified: []}"
        (self.home / f"{name}.yaml").write_text(
            f"name: {name}\nabout: {about}\nnode: {{gpus: {gpus}, cores: 2}}\n"
            f"ask: {{gpus: {'gres' if gpus else 'none'}}}\nmpi: {{start: {start}, pmi: {pmi}}}\n"
            "container: {command: apptainer}\n"
        )
        return f"{name}.yaml"

    def submit(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """Submits the small recipe; answers job and folder."""
        done = self("submit", "recipe.yaml", "--time", "10:00", "--json", *arguments, **options)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def status(self, job: str) -> list[dict[str, Any]]:
        """What `jobs show` says."""
        found: list[dict[str, Any]] = json.loads(self("jobs", "show", job, "--json").stdout)
        return found

    def until(self, true: Callable[[], Any], what: str, seconds: float = 120) -> Any:
        """Waits; a test that hangs is told as such, with the queue."""
        end = monotonic() + seconds
        while not (found := true()):
            if monotonic() > end:
                pytest.fail(f"no {what} after {seconds} s\n{self.slurm.call('squeue', '--states=all')}")
            sleep(0.5)
        return found


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    with cluster() as here:
        yield here


@pytest.fixture
def user(tmp_path: Path, slurm: Cluster, run_command: Callable[..., Any]) -> User:
    return User(tmp_path, slurm, run_command)
