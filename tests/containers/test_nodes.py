"""The image on two nodes of a real Slurm, its ranks started by the host's mpirun."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from login import User

pytestmark = [pytest.mark.needs("apptainer"), pytest.mark.needs("slurm")]


def test_a_job_in_the_image_trains_on_two_nodes_as_the_host_does(image: Path, user: User) -> None:
    exact = ("--data", "data", "--engine", "mpi", "train.deterministic=true", "launch.threads=1")
    asked = ("submit", "recipe.yaml", "--site", user.site("mpirun"), "--nodes", "2", "--time", "10:00", "--wait")
    user(*asked, "--container", str(image), "--out", "inside", *exact)
    user(*asked, "--out", "outside", *exact)
    inside, outside = (json.loads((user.home / name / "summary.json").read_text()) for name in ("inside", "outside"))
    assert (inside["world_size"], inside["nodes"], inside["engine"]) == (2, 2, "mpi")
    assert (inside["loss"], inside["test_loss"]) == (outside["loss"], outside["test_loss"])
    environment = json.loads((user.home / "inside/environment.json").read_text())
    assert [rank["host"] for rank in environment["ranks"]] == ["n1", "n2"]
    script = (user.home / "inside/job.sbatch").read_text()
    assert "apptainer exec" in script and str(image) in script
    assert "epoch 2/2" in (next((user.home / "inside").glob("slurm-*.out"))).read_text()
