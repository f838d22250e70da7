"""A network of a known rate that the command makes by itself, as root."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from time import monotonic, sleep

import psutil
import pytest

from hpcdl.allreduce import read_allreduce

pytestmark = [pytest.mark.needs("netns"), pytest.mark.needs("sshd")]
Run = Callable[..., subprocess.CompletedProcess[str]]
MADE = ("bench", "allreduce", "--ranks", "2", "--oversubscribe", "--engines", "mpi", "--made-hosts", "2")
RATE = 100e6


def test_two_made_hosts_sum_at_the_rate_of_their_network_and_not_faster(hpcdl: Run, tmp_path: Path) -> None:
    before = _here()
    rest = ("--made-rate", "100mbit", "--bytes", "1KiB,1MiB", "--repeats", "1", "--seconds", "0.3", "--out", "a")
    done = hpcdl(*MADE, *rest)
    assert done.returncode == 0, done.stderr
    assert _here() == before
    results = read_allreduce(tmp_path / "a" / "results.json")
    network = results.environment["hosts"]["network"]
    assert network["rate_bit_per_s"] == RATE and 0 < network["measured_bit_per_s"] <= RATE * 1.01
    assert results.environment["host"] != "h1"
    sums = [point for point in results.points if point.bytes == 2**20 and point.bus_bandwidth]
    assert {(point.engine, point.ranks, point.nodes) for point in sums} == {("plain", 2, 2), ("mpi", 2, 2)}
    for point in sums:  # an idle link sends 16 KiB at once, twice on the way
        assert point.bus_bandwidth and point.bus_bandwidth.median < RATE / 8 * 1.05


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    before = _here()
    command = [sys.executable, "-m", "hpcdl", *MADE, "--bytes", "1KiB", "--repeats", "1000", "--out", "a"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    starts, deadline = tmp_path / "a" / "starts.jsonl", monotonic() + 120
    while not (starts.exists() and "progress" in starts.read_text(encoding="utf-8")):
        assert process.poll() is None and monotonic() < deadline
        sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode in (1, 130) and "Traceback" not in told  # while ranks ran, or between two starts
    deadline = monotonic() + 20
    while _here() != before:
        assert monotonic() < deadline, _here() - before
        sleep(0.1)


def _here() -> set[str]:
    """What a made network could leave: interfaces, folders, and processes of a host."""
    folders = {str(path) for path in Path(gettempdir()).glob("hpcdl-hosts-*")}
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return {*psutil.net_if_addrs(), *folders, *(line for line in lines if "hpcdl-hosts-" in line)}
