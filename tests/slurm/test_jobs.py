"""Jobs on a real Slurm: in, watched, out, and what the records say of them."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster import NODES, Cluster
from login import User

pytestmark = pytest.mark.needs("slurm")


def summary(folder: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "summary.json").read_text())
    return found


@pytest.mark.parametrize(("start", "nodes"), [("mpirun", 4), ("srun", 2)])
def test_a_job_trains_on_all_its_nodes_as_one_process_does(user: User, nodes: int, start: str) -> None:
    exact = ("--data", "data", "train.deterministic=true")  # sums in one order, on any number of ranks
    site = user.site(start)
    done = user(
        *(
            "submit",
            "recipe.yaml",
            "--site",
            site,
            "--nodes",
            str(nodes),
            "--out",
            "there",
            "--time",
            "10:00",
            "--wait",
        ),
        *exact,
    )
    assert "COMPLETED" in done.stdout
    user("run", "recipe.yaml", "--out", "here", *exact)
    there, here = summary(user.home / "there"), summary(user.home / "here")
    assert (there["world_size"], there["nodes"], here["world_size"]) == (nodes, nodes, 1)
    assert there["loss"] == here["loss"]
    assert there["test_loss"] == pytest.approx(here["test_loss"], rel=1e-6)
    hosts = [rank["host"] for rank in json.loads((user.home / "there/environment.json").read_text())["ranks"]]
    assert hosts == list(NODES[:nodes])
    for rank in range(nodes):
        with (user.home / f"there/ranks/{rank}.steps.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 20
    kept = json.loads((user.home / "there/submission.json").read_text())
    assert kept["command"].startswith("hpcdl submit recipe.yaml --site")
    assert kept["environment"]["packages"]["keras"]
    assert (user.home / "there/job.sbatch").read_text().startswith("#!/bin/bash\n")


def test_watching_a_job(user: User) -> None:
    job = user.submit("--nodes", "2", "--data", "data", "train.epochs=6")["job"]
    (status,) = user.until(lambda: [one for one in user.status(job) if one["done"]], "progress")
    assert status["total"] == 60 and status["images_per_s"] > 0
    assert status["state"] in {"RUNNING", "COMPLETING", "COMPLETED"}
    assert re.search(rf"^{job} +small +\w+ .* \d+/60 ", user("jobs", "list", "--all").stdout, re.MULTILINE)
    followed = user("jobs", "logs", "-f", job).stdout
    assert "epoch 6/6" in followed and "done in" in followed
    assert "\x1b" not in followed and "\r" not in followed
    user("jobs", "logs", job, "--rank", "1")
    (status,) = user.status(job)
    assert (status["state"], status["done"]) == ("COMPLETED", 60)
    assert f"{job} COMPLETED" in user("jobs", "wait", job).stdout
    assert user("jobs", "list").stdout == "no jobs in the queue; --all lists ended ones\n"


def test_folders_of_any_name_reach_the_ranks(user: User) -> None:
    nasty = 'it\'s $(touch pwned); `touch pwned` "x" & é*'
    (user.home / "data").rename(user.home / nasty)
    answer = user.submit("--nodes", "2", "--data", nasty, "--out", f"out {nasty}", "train.epochs=1")
    user("jobs", "wait", answer["job"])
    assert answer["folder"] == str(user.home / f"out {nasty}")
    assert summary(answer["folder"])["world_size"] == 2
    assert "done in" in user("jobs", "logs", answer["job"]).stdout
    evaluated = user("evaluate", answer["folder"], "--data", nasty, "--json").stdout
    assert json.loads(evaluated)["accuracy"] == summary(answer["folder"])["test_accuracy"]
    assert not list(user.home.rglob("pwned"))


def test_a_job_is_cancelled_and_its_records_stay(user: User) -> None:
    answer = user.submit("--nodes", "2", "--data", "data", "train.epochs=1000")
    user.until(lambda: user.status(answer["job"])[0]["done"], "progress")
    user("jobs", "cancel", answer["job"])
    done = user("jobs", "wait", answer["job"], code=1)
    assert "CANCELLED" in done.stdout
    assert (Path(answer["folder"]) / "events.jsonl").stat().st_size
    assert not (Path(answer["folder"]) / "summary.json").exists()


def test_a_job_that_fails_says_so_with_the_first_ranks_words(user: User) -> None:
    answer = user.submit("--nodes", "2", "--data", "data", "optimizer.learning_rate=1e30")
    done = user("jobs", "wait", answer["job"], code=1)
    assert "FAILED" in done.stdout
    log = user("jobs", "logs", answer["job"]).stdout
    assert "rank " in log and "received: " in log and "     fix: " in log
    assert json.loads((Path(answer["folder"]) / "ended.json").read_text())["code"] == 1


def test_a_sweep_is_an_array_of_runs(user: User) -> None:
    answer = user.submit("--nodes", "1", "--data", "data", "--sweep", "train.seed=[3,4]", "--at-once", "1")
    job, folder = answer["job"], Path(answer["folder"])
    user("jobs", "wait", job)
    assert [one["job"] for one in user.status(job)] == [f"{job}_0", f"{job}_1"]
    assert "seed: 3" in (folder / "0/config.yaml").read_text() and "seed: 4" in (folder / "1/config.yaml").read_text()
    assert summary(folder / "0")["loss"] != summary(folder / "1")["loss"]
    assert "done in" in user("jobs", "logs", f"{job}_1").stdout
    assert f"{job}_0" in user("jobs", "logs", job, code=2).stderr


def test_a_run_that_has_ended_is_not_trained_again_and_its_records_outlive_slurms(user: User, slurm: Cluster) -> None:
    answer = user.submit("--nodes", "1", "--data", "data", "--requeue")
    user("jobs", "wait", answer["job"])
    events = Path(answer["folder"]) / "events.jsonl"
    before = events.read_text()
    slurm.call("sbatch", "--wait", f"--chdir={answer['folder']}", f"{answer['folder']}/job.sbatch")
    assert events.read_text() == before
    place = user.home / "state/hpcdl/jobs" / f"{answer['job']}.json"
    forgotten = {**json.loads(place.read_text()), "job": "987654"}
    place.with_name("987654.json").write_text(json.dumps(forgotten))
    assert user.status("987654")[0]["state"] == "COMPLETED"
    (Path(answer["folder"]) / "ended.json").unlink()
    assert user.status("987654")[0]["state"] == "FORGOTTEN"
    user("jobs", "wait", "987654", code=1)


def test_the_controller_goes_away_and_comes_back(user: User, slurm: Cluster) -> None:
    job = user.submit("--nodes", "2", "--data", "data", "train.epochs=40")["job"]
    user.until(lambda: user.status(job)[0]["done"], "progress")
    slurm.stop("slurmctld")
    try:
        (status,) = user.status(job)
        assert (status["state"], status["reason"]) == ("UNKNOWN", "slurmctld does not answer")
        assert status["done"] > 0
        waiting = subprocess.Popen(
            [sys.executable, "-m", "hpcdl", "jobs", "wait", job],
            env=user.env(),
            cwd=user.home,
            stdout=subprocess.PIPE,
            text=True,
        )
        user.until(lambda: waiting.stdout and "UNKNOWN" in waiting.stdout.readline(), "word of the controller")
    finally:
        slurm.start("slurmctld")
    out, _ = waiting.communicate(timeout=180)
    assert waiting.returncode == 0 and "COMPLETED" in out


def test_the_wrong_pmi_is_found_at_the_start(user: User) -> None:
    """Open MPI 5 under --mpi=pmi2: each task believes that it is alone, and would train for itself."""
    answer = user.submit("--site", user.site("srun", pmi="pmi2"), "--nodes", "2", "--data", "data")
    user("jobs", "wait", answer["job"], code=1)
    log = user("jobs", "logs", answer["job"]).stdout
    assert "rank 0 of 1" in log and "both to agree" in log
    assert not (Path(answer["folder"]) / "summary.json").exists()


def test_slurm_refuses_what_it_cannot_serve_before_the_queue(user: User) -> None:
    done = user("submit", "recipe.yaml", "--nodes", "9", "--ranks-per-node", "1", "--data", "data", code=2)
    assert "9 ranks for small" in done.stderr  # more ranks than micro-batches
    done = user(
        *("submit", "recipe.yaml", "--nodes", "8", "--data", "data", "--out", "x", "train.micro_batch=5"), code=1
    )
    assert "sbatch" in done.stderr and "received:" in done.stderr
    assert not list((user.home / "state").rglob("*.json")) and not (user.home / "x").exists()


def test_ranks_see_all_gpus_of_their_node(user: User, slurm: Cluster) -> None:
    """Pretended devices; real is what Slurm tells each rank of them."""
    site = user.site("srun", gpus=2)
    script = user(
        *("submit", "recipe.yaml", "--site", site, "--nodes", "2", "--data", "data", "--time", "5:00", "--dry-run")
    ).stdout
    start = re.search(r"^srun (.*?)\S+python", script, re.MULTILINE | re.DOTALL)
    assert start
    options = [word for word in shlex.split(start[1]) if word.startswith("--")]
    directives = re.findall(r"#SBATCH (--(?:nodes|ntasks-per-node|gres)=\S+)", script)
    told = user.home / "told"
    probe = 'echo "$SLURM_PROCID $SLURM_LOCALID $CUDA_VISIBLE_DEVICES" >>' + shlex.quote(str(told))
    slurm.call("srun", *directives, *options, "sh", "-c", probe)
    lines = sorted(line.split() for line in told.read_text().splitlines())
    assert lines == [["0", "0", "0,1"], ["1", "1", "0,1"], ["2", "0", "0,1"], ["3", "1", "0,1"]]
