"""Nothing hangs and nothing is lost: one fault of each kind, as `benchmarks/faults.py` injects them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.needs("horovod")
def test_a_run_survives_one_fault_of_each_kind(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Each ends in its time and with its code, and goes on to the bits of a run that nothing interrupted.

    Two ranks: what takes long is TensorFlow's import, on every rank of some forty starts.
    """
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--ranks", "2", "--out", str(tmp_path)]
    done = run_command(command, 1800)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads((tmp_path / "results.json").read_text())["kinds"]
    assert len(found) >= 20 and all(row["trials"] == 1 for row in found.values())
