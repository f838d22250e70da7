"""A job that hears USR2 goes back to the queue, and goes on with its last checkpoint, to the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from cluster import Cluster
from login import User

pytestmark = pytest.mark.needs("slurm")


def events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def last_weights(folder: Path) -> dict[str, np.ndarray]:
    """Of the run's last checkpoint, by their names in the file."""
    found: dict[str, np.ndarray] = {}
    newest = max((folder / "checkpoints").iterdir())
    with h5py.File(newest / "model.weights.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return {f"{newest.name}/{name}": array for name, array in found.items()}


@pytest.mark.parametrize("start", [pytest.param("mpirun", marks=pytest.mark.thorough), "srun"])
def test_usr2_requeues_a_job_once_and_it_ends(user: User, slurm: Cluster, start: str) -> None:
    how = ("--site", user.site(start), "--nodes", "2", "--data", "data", "--requeue", "train.epochs=12")
    how += ("train.deterministic=true",)
    answer = user.submit(*how)
    job, folder = answer["job"], Path(answer["folder"])
    user.until(lambda: user.status(job)[0]["done"], "progress")
    slurm.call("scancel", "--signal=USR2", "--batch", job)
    user.until(lambda: user.status(job)[0]["restarts"] == 1, "a second start")
    user("jobs", "wait", job)
    log = user("jobs", "logs", job).stdout
    assert f"start 0 of job {job}" in log and f"start 1 of job {job}" in log  # appended
    assert "goes back to the queue" in log and "stopped with code 75" in log
    kinds = [event["event"] for event in events(folder)]
    assert kinds.count("restart") == 1 and kinds.count("end") == 1
    assert kinds.index("restart") > kinds.index("progress")
    [restart] = [event for event in events(folder) if event["event"] == "restart"]
    assert restart["count"] == 1 and restart["checkpoint"] == f"update-{restart['from_update']:08d}"
    assert int(str(restart["from_update"])) > 0
    assert json.loads((folder / "ended.json").read_text()) == {"code": 0, "job": job, "restarts": 1}
    assert json.loads((folder / "summary.json").read_text())["world_size"] == 2
    plain = user.submit(*how)
    user("jobs", "wait", plain["job"])
    ours, theirs = last_weights(folder), last_weights(Path(plain["folder"]))
    assert ours.keys() == theirs.keys() and len(ours) > 4
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_a_job_whose_node_dies_goes_on_elsewhere(user: User, slurm: Cluster) -> None:
    """From its last checkpoint, to the bits of a run that nothing interrupted."""
    how = ("--site", user.site("mpirun"), "--nodes", "2", "--data", "data", "--requeue", "train.epochs=48")
    how += ("train.deterministic=true", "checkpoint.every_steps=5")
    plain, answer = user.submit(*how), user.submit(*how)
    job, folder = answer["job"], Path(answer["folder"])
    user.until(lambda: user.status(job)[0]["done"] > 10, "progress")
    nodes = slurm.call("scontrol", "show", "hostnames", slurm.call("squeue", "-h", "-j", job, "-o", "%N").strip())
    dead = nodes.split()[-1]
    try:
        slurm.crash(dead)
        user.until(lambda: user.status(job)[0]["restarts"] == 1, "a second start")
        user("jobs", "wait", job)
    finally:
        slurm.repair(dead)
    [restart] = [event for event in events(folder) if event["event"] == "restart"]
    assert int(str(restart["from_update"])) > 0
    user("jobs", "wait", plain["job"])
    ours, theirs = last_weights(folder), last_weights(Path(plain["folder"]))
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
