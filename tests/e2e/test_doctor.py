"""The doctor on this machine: what is well, ranks that are alone, and what a user can have wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Completed = subprocess.CompletedProcess[str]
LAUNCHERS = {
    "nobody tells who they are": ("mpirun (Open MPI) 5.0.11", "", "should fit"),
    "told in MPICH's way": (
        "HYDRA build details:\n    Version:    5.0.2",
        "PMI_RANK=$i PMI_SIZE=$n MPI_LOCALRANKID=$i MPI_LOCALNRANKS=$n",
        "MPICH 5.0.2",
    ),
}
MPIRUN = """#!/bin/sh
if [ "$1" = --version ]; then printf '{version}\\n'; exit 0; fi
while :; do
  case "$1" in
    --allow-run-as-root) shift ;;
    -np) n=$2; shift 2 ;;
    -x) export "$2"; shift 2 ;;
    -*) shift 2 ;;
    *) break ;;
  esac
done
i=0
while [ $i -lt $n ]; do
  env {told} "$@" &
  i=$((i + 1))
done
wait
"""


@pytest.mark.parametrize("engine", ["mpi", pytest.param("horovod", marks=pytest.mark.needs("horovod"))])
def test_this_machine_is_well_and_two_ranks_know_each_other(hpcdl: Callable[..., Completed], engine: str) -> None:
    done = hpcdl("doctor", "--ranks", "2", "--oversubscribe", "--engine", engine, "--json", timeout=900)
    answer = json.loads(done.stdout)
    found = {(each["section"], each["name"]): each for each in answer["findings"]}
    assert done.returncode == 0 and answer["worst"] != "failure", done.stdout
    assert found["Software", "TensorFlow"]["state"] == "ok"
    assert found["MPI", "mpirun and mpi4py"]["state"] == "ok"
    ranks = found["Ranks", f"{engine}, 2 ranks"]
    assert ranks["state"] == "ok" and "sum to 3" in ranks["told"]
    assert all(each["mend"] for each in answer["findings"] if each["state"] != "ok")


@pytest.mark.parametrize("way", LAUNCHERS)
def test_ranks_that_are_each_alone_are_found(tmp_path: Path, run_command: Callable[..., Completed], way: str) -> None:
    """A Python environment like this one, in which another mpirun lies beside Python."""
    version, told, mend = LAUNCHERS[way]
    real, venv = Path(sys.prefix), tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text((real / "pyvenv.cfg").read_text(encoding="utf-8"), encoding="utf-8")
    (venv / "lib").symlink_to(real / "lib")
    (venv / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (venv / "bin" / "mpirun").write_text(MPIRUN.format(version=version, told=told), encoding="utf-8")
    (venv / "bin" / "mpirun").chmod(0o755)
    command = [str(venv / "bin" / "python"), "-m", "hpcdl", "doctor", "--site", "local", "--ranks", "2"]
    done = run_command([*command, "--oversubscribe", "--engine", "mpi"], 600, cwd=tmp_path, env=dict(os.environ))
    assert done.returncode == 1 and done.stderr == "", done.stderr
    lines = done.stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("failure  mpi, 2 ranks")]
    assert "every rank is alone: 2 say that they are rank 0 of 1" in lines[at]
    assert mend in lines[at + 1]


def test_what_a_user_has_wrong_is_told_with_the_mend(hpcdl: Callable[..., Completed], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wrong = {"HPCDL_DATA": "typo", "KERAS_BACKEND": "jax", "NCCL_SOCKET_IFNAME": "nowhere7"}
    done = hpcdl("doctor", "--out", "file/runs", timeout=600, **wrong)
    assert done.returncode == 1 and done.stderr == ""
    failed = {" ".join(line.split()[1:2]) for line in done.stdout.splitlines() if line.startswith("failure")}
    assert failed == {"Keras", "NCCL_SOCKET_IFNAME", "run", "data"}
    for word in ("unset KERAS_BACKEND", "choose another --out", "unset HPCDL_DATA", "4 failures"):
        assert word in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
