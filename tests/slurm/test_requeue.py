"""A job that hears USR2 goes back to the queue, and starts again where its records say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cluster import Cluster
from login import User

pytestmark = pytest.mark.needs("slurm")


def events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("start", ["mpirun", "srun"])
def test_usr2_requeues_a_job_once_and_it_ends(user: User, slurm: Cluster, start: str) -> None:
    answer = user.submit(
        *("--site", user.site(start), "--nodes", "2", "--data", "data", "--requeue", "train.epochs=12")
    )
    job, folder = answer["job"], Path(answer["folder"])
    user.until(lambda: user.status(job)[0]["done"], "progress")
    slurm.call("scancel", "--signal=USR2", "--batch", job)
    user.until(lambda: user.status(job)[0]["restarts"] == 1, "a second start")
    user("jobs", "wait", job)
    log = user("jobs", "logs", job).stdout
    assert f"start 0 of job {job}" in log and f"start 1 of job {job}" in log  # appended
    assert "goes back to the queue" in log
    kinds = [event["event"] for event in events(folder)]
    assert kinds.count("restart") == 1 and kinds.count("end") == 1
    assert kinds.index("restart") > kinds.index("progress")
    assert json.loads((folder / "ended.json").read_text()) == {"code": 0, "job": job, "restarts": 1}
    assert json.loads((folder / "summary.json").read_text())["world_size"] == 2


def test_a_run_that_has_ended_is_not_trained_again(user: User, slurm: Cluster) -> None:
    answer = user.submit("--nodes", "1", "--data", "data", "--requeue")
    user("jobs", "wait", answer["job"])
    before = len(events(Path(answer["folder"])))
    slurm.call("sbatch", "--wait", f"--chdir={answer['folder']}", f"{answer['folder']}/job.sbatch")
    assert len(events(Path(answer["folder"]))) == before
