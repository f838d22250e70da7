"""Nothing hangs and nothing is lost: faults of each kind, as `benchmarks/faults.py` injects them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIRST = ["USR2 on a rank", "SIGKILL", "endless loop", "another collective", "flipped bit"]
"""One for each way in which ranks and a launcher hear of it."""


@pytest.mark.needs("horovod")
@pytest.mark.parametrize("kinds", [FIRST, pytest.param([], marks=pytest.mark.thorough)], ids=["first", "all"])
def test_a_run_survives(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, kinds: list[str]
) -> None:
    """Each ends in its time and with its code, and goes on to the bits of a run that nothing interrupted.

    Two ranks: what takes long is TensorFlow's import, on every rank of two starts a fault.
    """
    some = ["--kinds", ",".join(kinds), "--trials", str(len(kinds))] if kinds else []
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--ranks", "2", "--out", str(tmp_path), *some]
    done = run_command(command, 1800)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads((tmp_path / "results.json").read_text())["kinds"]
    assert len(found) >= 20 if not kinds else list(found) == kinds
    assert all(row["trials"] == 1 for row in found.values())
