"""Jobs on a real Slurm with accounting: slurmdbd knows how they ended when slurmctld has forgotten them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from accounting import accounting, forget
from cluster import Cluster, cluster
from login import User

from hpcdl.doctor.findings import Finding, ok
from hpcdl.doctor.here import this_machine
from hpcdl.doctor.slurm import check

pytestmark = pytest.mark.needs("slurm", "slurmdbd")
Jobs = dict[str, str]
"""Numbers by how the jobs end."""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster(accounting=accounting) as here:
        yield here


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, slurm: Cluster, run_command: Callable[..., Any]) -> User:
    return User(tmp_path_factory.mktemp("user"), slurm, run_command)


def submit(user: User, name: str, *arguments: str) -> str:
    return str(user.submit("--data", "data", "--out", name, *arguments)["job"])


def state(user: User, job: str) -> str:
    return str(user.status(job)[0]["state"])


def listed(user: User) -> dict[str, dict[str, Any]]:
    """All jobs in one look; an array goes by its first task."""
    return {one["job"].removesuffix("_0"): one for one in json.loads(user("jobs", "list", "--all", "--json").stdout)}


def reach(user: User, job: str, aim: str) -> None:
    user.until(lambda: state(user, job) == aim, f"{aim} of {job}")


def doctor(user: User) -> Finding:
    """The doctor's last line on Slurm."""
    return check(this_machine(user.env()), None)[-1]


@pytest.fixture(scope="module")
def ended(user: User, slurm: Cluster) -> Jobs:
    """Jobs that have ended, each in its way, and slurmctld remembers them."""
    late = submit(user, "late", "train.epochs=1000")
    array = submit(user, "array", "train.epochs=1000", "--sweep", "train.seed=[0,1,2]", "--at-once", "1")
    reach(user, late, "RUNNING")
    slurm.call("scontrol", "update", f"JobId={late}", "EndTime=now+1")  # a limit of a script's is whole minutes
    reach(user, array, "RUNNING")
    user("jobs", "cancel", array)
    good, bad = submit(user, "good", "train.epochs=1"), submit(user, "bad", "optimizer.learning_rate=1e30")
    jobs = {"TIMEOUT": late, "CANCELLED": array, "COMPLETED": good, "FAILED": bad}
    for how, job in jobs.items():
        user("jobs", "wait", job, code=int(how != "COMPLETED"))
    return jobs


@pytest.fixture(scope="module")
def forgotten(ended: Jobs, user: User, slurm: Cluster) -> Jobs:
    """The same when slurmctld has forgotten them, and without their records' last words."""
    forget(slurm)
    for path in user.home.rglob("ended.json"):
        path.rename(path.with_name("kept.json"))

    def told() -> bool:
        found = listed(user)
        return all(found[job]["state"] == how for how, job in ended.items())

    user.until(told, "word of all ends")
    return ended


def test_slurmctld_remembers(ended: Jobs, user: User) -> None:
    known = listed(user)
    found = {how: known[job] for how, job in ended.items()}
    assert [status["state"] for status in found.values()] == list(ended)
    assert {how: status["reason"] for how, status in found.items()} == {
        **{"TIMEOUT": "TimeLimit", "CANCELLED": "", "COMPLETED": "", "FAILED": "exit code 1"}
    }
    assert all(re.fullmatch(r"\d+:\d\d", status["elapsed"]) for status in found.values())


def test_slurmdbd_alone_remembers(forgotten: Jobs, user: User) -> None:
    table = user("jobs", "list", "--all").stdout
    for how, job in forgotten.items():
        first, *_ = found = user.status(job)
        assert first["reason"] == ("exit code 1" if how == "FAILED" else "")
        assert re.fullmatch(r"00:\d\d:\d\d", first["elapsed"]) and first["nodes"] == "1"
        assert first["elapsed"] != "00:00:00" or how == "CANCELLED"  # which may come within the first second
        for status in found:
            assert re.search(rf"^{status['job']} +small +{how} +{status['elapsed']} ", table, re.MULTILINE)
        told = user("jobs", "wait", job, code=int(how != "COMPLETED")).stdout
        assert f"{first['job']} {how}" in told
    assert "done in" in user("jobs", "logs", "-f", forgotten["COMPLETED"]).stdout
    assert user("jobs", "list").stdout == "no jobs in the queue; --all lists ended ones\n"


def test_tasks_that_were_cancelled_before_they_started(forgotten: Jobs, user: User) -> None:
    array = forgotten["CANCELLED"]
    found = {status["job"]: (status["state"], status["elapsed"]) for status in user.status(array)}
    assert list(found) == [f"{array}_0", f"{array}_1", f"{array}_2"]
    assert found[f"{array}_1"] == found[f"{array}_2"] == ("CANCELLED", "00:00:00")


def test_slurmdbd_goes_away_and_comes_back(forgotten: Jobs, user: User, slurm: Cluster) -> None:
    assert doctor(user) == ok("accounting", "cluster hpcdl-test")
    running = submit(user, "running", "train.epochs=1000")
    known = ("sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={running}", "--format=State")
    user.until(lambda: slurm.call(*known).strip() == "RUNNING", "word of a start")
    kept = user.home / "bad/kept.json"
    slurm.stop("slurmdbd")
    try:
        kept.rename(kept.with_name("ended.json"))
        table = user("jobs", "list", "--all").stdout
        assert re.search(
            rf"^{forgotten['FAILED']} .* exit code 1; the accounting does not answer$", table, re.MULTILINE
        )
        assert re.search(rf"^{forgotten['COMPLETED']} +small +UNKNOWN .* the accounting", table, re.MULTILINE)
        assert re.search(rf"^{running} +small +RUNNING ", user("jobs", "list").stdout, re.MULTILINE)
        finding = doctor(user)
        assert (finding.name, finding.state) == ("accounting", "warning")
        waiting = subprocess.Popen(
            [sys.executable, "-m", "hpcdl", "jobs", "wait", forgotten["COMPLETED"]],
            env=user.env(),
            cwd=user.home,
            stdout=subprocess.PIPE,
            text=True,
        )
        user.until(lambda: waiting.stdout and "UNKNOWN" in waiting.stdout.readline(), "word of the accounting")
        user("jobs", "cancel", running)
        forget(slurm)
    finally:
        slurm.start("slurmdbd")

    def heard() -> bool:
        """slurmdbd has the job running until slurmctld tells it of the end, which takes a while."""
        told = state(user, running)
        assert told in {"UNKNOWN", "FAILED", "CANCELLED"}
        return told == "CANCELLED"

    user.until(heard, "word of an end")
    out, _ = waiting.communicate(timeout=180)
    assert waiting.returncode == 0 and "COMPLETED" in out
