"""Sums over two real ranks, timed and checked."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdl.allreduce import read_allreduce

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = ("--repeats", "1", "--iterations", "3", "--seconds", "0.01", "--oversubscribe")


@pytest.mark.needs("horovod")
def test_two_ranks_are_timed_with_each_engine_and_compression(hpcdl: Run, tmp_path: Path) -> None:
    """Ranks refuse sums that are wrong, and one value alone would be one."""
    sizes = ("--bytes", "8,1MiB", "--compression", "none,bf16")
    done = hpcdl("bench", "allreduce", "--ranks", "1,2", *TINY, *sizes, "--out", "a")
    assert done.returncode == 0, done.stderr
    results = read_allreduce(tmp_path / "a" / "results.json")
    kinds = {(point.engine, point.compression, point.ranks, point.nodes) for point in results.points}
    summed = {(name, wire, 2, 1) for name in ("mpi", "horovod") for wire in ("none", "bf16")}
    assert kinds == {("memory", "none", 1, 1), ("memory", "none", 2, 1), ("plain", "none", 2, 1), *summed}
    assert len(results.points) == 2 * len(kinds) and len(results.fits) == 5
    assert {len(rank) for point in results.points for each in point.starts for rank in each.seconds} == {3}
    assert "Open MPI" in results.environment["mpi"] and results.environment["versions"]["tensorflow"]
    assert results.command[1:3] == ["bench", "allreduce"] and results.warmup_calls > 0
    rows = [line for line in done.stdout.splitlines() if line.split()[:3] == ["2", "1", "MiB"]]
    assert len(rows) == 6 and "[" not in "".join(rows)  # one start has no interval
    assert done.stdout.count(": alpha ") == 5
    again = hpcdl("bench", "allreduce", "--ranks", "1", *TINY, "--bytes", "8", "--out", "a")
    assert again.returncode == 2 and "--overwrite" in again.stderr


def test_what_cannot_be_measured_is_told_before_anything_starts(hpcdl: Run, tmp_path: Path) -> None:
    for options, told in (
        (("--bytes", "3"), "--bytes 3"),
        (("--engines", "nccl"), "'nccl'"),
        (("--ranks", "1000"), "-n 1000"),
        (("--made-rate", "1gbit"), "--made-hosts"),
    ):
        done = hpcdl("bench", "allreduce", *options, "--out", "b")
        assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr
    done = hpcdl("bench", "allreduce", "--dry-run", "--ranks", "2", "--oversubscribe", "--engines", "mpi")
    assert done.returncode == 0 and done.stdout.count("mpirun") == 2
    assert not list(tmp_path.iterdir())
