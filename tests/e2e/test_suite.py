"""A suite that is stopped, and goes on without measuring anything twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hpcdl.records import read_events, read_results

TINY = Path(__file__).parents[2] / "benchmarks" / "suites" / "tiny.yaml"


def test_a_suite_goes_on_after_a_stop(hpcdl: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    command, study = ["bench", "suite", str(TINY), "--out", "s"], tmp_path / "s" / "dense"
    own = {name: value for name, value in os.environ.items() if name != "HPCDL_DATA"}
    process = subprocess.Popen([sys.executable, "-m", "hpcdl", *command], cwd=tmp_path, env=own, text=True)
    deadline = time.monotonic() + 120
    while not any(event["event"] == "progress" for event in read_events(study / "starts.jsonl", print)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    first = study / "runs" / "weak-synthetic-single-1-1"
    before = (first / "summary.json").stat().st_mtime_ns
    done = hpcdl(*command)
    assert done.returncode == 0, done.stderr
    assert "no cifar10 here, so synthetic input is measured alone" in done.stderr
    assert done.stdout.count("(measured before)") == 1 and (first / "summary.json").stat().st_mtime_ns == before
    one, two = read_results(study / "results.json").results
    assert (one.ranks, two.ranks, one.input, two.engine) == (1, 2, "synthetic", "mpi")
    assert one.allreduce_bytes == 0
    # the gradients of 30,840 weights, three sums and the vote, 4 bytes each
    assert two.allreduce_bytes == 4 * (30_840 + 3 + 1)
    (each,) = two.repetitions
    assert (each.warmup_steps, each.steps, [len(rank.compute) for rank in each.ranks]) == (2, 4, [4, 4])
    for rank in each.ranks:
        parts = zip(rank.step, rank.input, rank.compute, rank.communication, strict=True)
        assert all(min(own) >= 0 and sum(own) <= step * 1.001 for step, *own in parts)
    (usage,) = each.usage
    assert usage.cpu_percent > 0 and (usage.energy_joules is not None or usage.absent)

    again = hpcdl(*command)
    assert again.returncode == 0 and again.stdout.count("(measured before)") == 2
    (tmp_path / "other.yaml").write_text(TINY.read_text(encoding="utf-8").replace("steps: 4", "steps: 5"))
    changed = hpcdl("bench", "suite", "other.yaml", "--out", "s")
    assert changed.returncode == 2 and "changed: dense" in changed.stderr and "another --out" in changed.stderr
