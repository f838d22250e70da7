"""hpcdl run inside of a Slurm job: its ranks spread over the job's nodes, as mpirun's do."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from cluster import Cluster

pytestmark = pytest.mark.needs("slurm")
SCRIPT = """
import socket
import hpcdl
world = hpcdl.init()
hosts = hpcdl.allgather_object(socket.gethostname())
total = hpcdl.allreduce([world.rank + 1.0], "sum")[0]
if world.is_leader:
    print("hosts", *hosts, "nodes", world.nodes, "total", int(total), flush=True)
"""


def job(slurm: Cluster, folder: Path, ask: list[str], *arguments: str) -> str:
    """What `hpcdl run script.py …` prints as a batch job."""
    (folder / "script.py").write_text(SCRIPT)
    command = shlex.join([sys.executable, "-m", "hpcdl", "run", "script.py", "--engine", "mpi", *arguments])
    (folder / "job.sh").write_text(f"#!/bin/bash\n{command} 2>&1 || true\n")
    options = ["--wait", "--time=5", f"--chdir={folder}", f"--output={folder}/out", *ask]
    slurm.call("sbatch", *options, str(folder / "job.sh"), timeout=240)
    return (folder / "out").read_text()


@pytest.mark.parametrize(
    ("ask", "launcher", "ranks", "told"),
    [
        pytest.param(
            *(["-N2", "--ntasks-per-node=2"], "mpirun", 2, "hosts n1 n2 nodes 2 total 3"), marks=pytest.mark.thorough
        ),
        (["-N2", "--ntasks-per-node=2"], "srun", 4, "hosts n1 n1 n2 n2 nodes 2 total 10"),
        (["-N2", "-n3"], "mpirun", 3, "hosts n1 n1 n2 nodes 2 total 6"),
        (["-N1", "-n2"], "mpirun", 2, "hosts n1 n1 nodes 1 total 3"),
    ],
    ids=["alike", "srun", "uneven", "one node"],
)
def test_ranks_spread_over_the_nodes_of_a_job(
    slurm: Cluster, tmp_path: Path, ask: list[str], launcher: str, ranks: int, told: str
) -> None:
    assert told in job(slurm, tmp_path, ask, "-n", str(ranks), "--launcher", launcher)


def test_more_ranks_than_tasks_are_refused(slurm: Cluster, tmp_path: Path) -> None:
    told = job(slurm, tmp_path, ["-N2", "--ntasks-per-node=1"], "-n", "3")
    assert "which offer 2 slots (1 + 1)" in told and "--ntasks-per-node" in told
