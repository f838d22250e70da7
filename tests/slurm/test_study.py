"""A scaling study as jobs: a job a node count, and a report that waits for them."""

from __future__ import annotations

import csv
import json
import re

import pytest
from cluster import Cluster
from login import User

from hpcdl.records import read_results

pytestmark = pytest.mark.needs("slurm")


def told(slurm: Cluster, job: str, field: str) -> str:
    """A field of `scontrol show job`; times are ISO 8601."""
    found = re.search(rf"\b{field}=(\S+)", slurm.call("scontrol", "show", "job", job))
    assert found
    return found[1]


def test_a_study_measures_every_node_count_and_reports_it(user: User, slurm: Cluster) -> None:
    done = user(
        *("bench", "scaling", "recipe.yaml", "--site", user.site("srun"), "--nodes", "1,4", "--time", "10:00"),
        *("--repeats", "2", "--steps", "3", "--warmup", "1", "--data", "data", "--out", "study", "--json"),
        *("--input", "real,synthetic", "--engines", "mpi", "--to-accuracy", "0.01", "--accuracy-repeats", "1"),
    )
    jobs, folder = json.loads(done.stdout)["jobs"], user.home / "study"
    assert list(jobs) == ["nodes-1", "nodes-4", "report"]
    assert "afterany" in told(slurm, jobs["report"], "Dependency")
    user("jobs", "wait", jobs["report"], timeout=400)
    started = told(slurm, jobs["report"], "StartTime")
    assert all(told(slurm, jobs[name], "EndTime") <= started for name in jobs if name != "report")
    log = user("jobs", "logs", jobs["nodes-4"]).stdout
    results = read_results(folder / "results.json")
    points = [(m.input, m.ranks, m.nodes, len(m.repetitions)) for m in results.results]
    real = results.results[0].input  # real, or a stand-in for it
    assert sorted(points) == sorted((i, *p) for i in (real, "synthetic") for p in ((1, 1, 2), (4, 4, 2))), log
    assert [(goal.ranks, goal.nodes, goal.reached) for goal in results.accuracy] == [(1, 1, 1), (4, 4, 1)]
    assert len({m.engine for m in results.results}) == 1 and {m.base_ranks for m in results.results} == {1}
    (status,) = user.status(jobs["nodes-4"])
    assert (status["done"], status["total"], status["unit"]) == (5, 5, "starts") and status["images_per_s"] > 0
    first, last = (next(m for m in results.results if (m.input, m.ranks) == (real, ranks)) for ranks in (1, 4))
    assert last.speedup == pytest.approx(last.images_per_s.median / first.images_per_s.median)
    assert {timing.host for timing in last.repetitions[0].ranks} == {"n1", "n2", "n3", "n4"}
    for m in results.results:
        assert (folder / m.repetitions[0].run / "summary.json").exists()
    with (folder / "results.csv").open() as file:
        assert sorted(row["ranks"] for row in csv.DictReader(file)) == ["1", "1", "4", "4"]
    assert (folder / "report.html").stat().st_size > 10_000 and (folder / "throughput.png").exists()


def test_all_jobs_of_a_study_or_none(user: User) -> None:
    done = user(
        *("bench", "scaling", "recipe.yaml", "--site", "local", "--nodes", "1,2,9", "--time", "10:00"),
        *("--data", "data", "--out", "study"),
        code=1,
    )
    assert "jobs/nodes-9" in done.stderr
    remembered = list((user.home / "state/hpcdl/jobs").glob("*.json"))
    assert len(remembered) == 2
    for path in remembered:
        (status,) = user.until(
            lambda path=path: [one for one in user.status(path.stem) if one["state"] != "PENDING"], "end"
        )
        assert status["state"] == "CANCELLED"
