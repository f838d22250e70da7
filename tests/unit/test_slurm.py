"""Sites, requests and Slurm's answers, without a Slurm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hpcdl.answer import Answer
from hpcdl.errors import ConfigError, LaunchError
from hpcdl.slurm import client
from hpcdl.slurm.clock import format_time, parse_time
from hpcdl.slurm.job import Request, plan_job
from hpcdl.slurm.registry import Submitted, find, remember, remembered
from hpcdl.slurm.sites import SHIPPED, Site, load_site, site_names
from hpcdl.slurm.status import statuses

ISSUE = [
    *("marenostrum5-acc", "cte-power", "leonardo", "lumi-g", "jean-zay", "perlmutter"),
    *("generic-gpu", "generic-cpu", "local"),
]
ABOUT = {"title": "t", "source": "s", "date": "2026-11-24", "unverified": "all"}


def site(**parts: Any) -> Site:
    return Site.model_validate({"name": "here", "about": ABOUT, **parts})


GPUS = site(
    node={"gpus": 4, "cores": 80, "threads_per_core": 2},
    limits={"time": "2-00:00:00", "nodes": 100},
    queues={"debug": {"time": "02:00:00", "nodes": 8}},
    account={"required": True, "example": "bsc00"},
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("1:30", 90), ("02:00:00", 7200), ("1-12", 129600), ("1-00:30", 88200), ("2-00:00:00", 172800)],
)
def test_times_are_read_as_sbatch_reads_them(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds
    assert parse_time(format_time(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "0", "1:2:3:4", "two hours", "1h", "-5", "00:00:00", "1-"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--time"):
        parse_time(text)


def test_every_site_of_the_list_ships_and_says_where_its_figures_come_from() -> None:
    assert site_names() == sorted(ISSUE)
    for name in ISSUE:
        known = load_site(name)
        assert known.about.source and known.about.date and known.about.title
        assert not Path(SHIPPED / f"{name}.yaml").read_text().count("\t")


def test_a_users_own_site_wins(tmp_path: Path) -> None:
    text = (SHIPPED / "local.yaml").read_text()
    (tmp_path / "local.yaml").write_text(text.replace("gpus: 0", "gpus: 3"))
    (tmp_path / "mine.yaml").write_text(text.replace("name: local", "name: mine"))
    assert load_site("local", tmp_path).node.gpus == 3
    assert "mine" in site_names(tmp_path)
    assert load_site(str(tmp_path / "mine.yaml")).name == "mine"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nmae": "x"}, "unknown key nmae"),
        ({"node": {"gpu": 4}}, "did you mean node.gpus"),
        ({"node": {"gpus": -1}}, "node.gpus=-1"),
        ({"limits": {"time": "a day"}}, "limits"),
        ({"interface": "ib0; rm -rf ~"}, "interface="),
        ({"ask": {"partition": "$(x)"}}, "ask.partition="),
        ({"ask": {"directives": ["--wrap=a b"]}}, "ask.directives"),
        ({"name": "other"}, "the file's own name"),
    ],
)
def test_a_site_that_is_wrong_names_its_key(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    (tmp_path / "here.yaml").write_text(json.dumps({"name": "here", "about": ABOUT, **change}))
    with pytest.raises(ConfigError) as error:
        load_site(str(tmp_path / "here.yaml"))
    assert told in str(error.value)


def test_a_site_that_does_not_exist_is_met_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="leonrado") as error:
        load_site("leonrado")
    assert "did you mean 'leonardo'" in str(error.value)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Request(), "no --account for here"),
        (Request(account="a", ranks_per_node=5), "at most one rank a GPU; a node has 4"),
        (Request(account="a", ranks_per_node=0), "at least 1"),
        (Request(account="a", time="3-00:00:00"), "at most 2-00:00:00"),
        (Request(account="a", time="03:00:00", qos="debug"), "at most 02:00:00"),
        (Request(account="a", nodes=101), "1 to 100 nodes"),
        (Request(account="a", nodes=9, qos="debug"), "1 to 8 nodes"),
        (Request(account="a", nodes=0), "1 to 100 nodes"),
        (Request(account="a", container="x.sif"), "--container x.sif"),
        (Request(account="a", threads=41, ranks_per_node=2), "at most 40"),
        (Request(account="a b"), "--account 'a b'"),
    ],
)
def test_what_a_site_cannot_serve_is_refused_with_its_figure(request_: Request, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan_job("x", request_, GPUS)
    assert told in str(error.value)


def test_a_rank_gets_its_gpus_share_of_the_node() -> None:
    job = plan_job("x", Request(account="a", nodes=2), GPUS)
    assert (job.ranks, job.ranks_per_node, job.gpus, job.cpus_per_task, job.threads) == (8, 4, 4, 40, 20)
    assert plan_job("x", Request(account="a", ranks_per_node=2), GPUS).cpus_per_task == 40
    assert plan_job("x", Request(account="a"), GPUS).time == "01:00:00"
    assert plan_job("x", Request(account="a", qos="debug", time="120"), GPUS).time == "02:00:00"


def test_processors_are_divided_and_unknown_nodes_are_not_asked_for_cores() -> None:
    cpus = site(node={"gpus": 0, "cores": 48}, ask={"gpus": "none"})
    assert plan_job("x", Request(ranks_per_node=4), cpus).cpus_per_task == 12
    job = plan_job("x", Request(nodes=3), load_site("generic-cpu"))
    assert (job.ranks, job.cpus_per_task, job.threads, job.gpus) == (3, None, 1, 0)
    assert plan_job("x", Request(threads=6), load_site("generic-cpu")).cpus_per_task == 6
    with pytest.raises(ConfigError, match="no --ranks-per-node"):
        plan_job("x", Request(), load_site("generic-gpu"))
    assert plan_job("x", Request(ranks_per_node=3), load_site("generic-gpu")).gpus == 3


def said(code: int = 0, out: str = "", err: str = "") -> Answer:
    return Answer(code, out, err)


def test_the_exact_words_to_slurm() -> None:
    asked: list[Sequence[str]] = []

    def ask(argv: Sequence[str]) -> Answer:
        asked.append(argv)
        return said(out="17;cluster\n")

    assert client.submit(ask, Path("/r/a b/job.sbatch"), after=["3", "4"]) == "17"
    assert asked[0] == ["sbatch", "--parsable", "--chdir=/r/a b", "--dependency=afterany:3:4", "/r/a b/job.sbatch"]
    client.validate(ask, Path("/r/job.sbatch"))
    assert asked[1] == ["sbatch", "--test-only", "--chdir=/r", "/r/job.sbatch"]


def test_slurms_refusal_is_told_in_its_own_words() -> None:
    refusal = said(1, "", "sbatch: error: Batch job submission failed: Invalid account\n")
    for call in (client.submit, client.validate):
        with pytest.raises(LaunchError, match="Invalid account") as error:
            call(lambda argv: refusal, Path("/r/job.sbatch"))
        assert "sbatch: error" not in str(error.value)


def test_a_slurm_that_does_not_answer_is_not_the_jobs_fault() -> None:
    refusal = said(1, "", "sbatch: error: Batch job submission failed: Unable to contact slurm controller\n")
    with pytest.raises(LaunchError) as error:
        client.submit(lambda argv: refusal, Path("/r/job.sbatch"))
    assert "scontrol ping" in error.value.fix


def test_the_queue_and_the_accounting_are_read() -> None:
    rows = client.queue(lambda argv: said(out="12|RUNNING|1:02|2|None\n13_1|PENDING|0:00|4|Resources\n\n"))
    assert rows["12"].state == "RUNNING" and rows["13_1"].reason == "Resources"
    rows = client.account(lambda argv: said(out="14|CANCELLED by 0|00:01:00|2|0:0\n15|FAILED|00:00:09|1|0:9\n"), ["14"])
    assert (rows["14"].state, rows["14"].reason) == ("CANCELLED", "")
    assert rows["15"].reason == "signal 9"
    assert client.account(lambda argv: said(1, "", "Slurm accounting storage is disabled\n"), ["14"]) == {}

    def no_sacct(argv: Sequence[str]) -> Answer:
        raise LaunchError("sacct: No such file or directory", "a program", "check the path")

    assert client.account(no_sacct, ["14"]) == {}
    with pytest.raises(client.AccountingAway, match="Connection refused"):
        client.account(lambda argv: said(1, "", "sacct: error: Sending PersistInit msg: Connection refused\n"), ["14"])
    with pytest.raises(client.ControllerAway, match="Unable to contact"):
        client.queue(lambda argv: said(1, "", "slurm_load_jobs error: Unable to contact slurm controller\n"))


@pytest.mark.parametrize(
    ("listed", "tasks"),
    [("1-2%1", [1, 2]), ("0", [0]), ("0,3-5,9", [0, 3, 4, 5, 9]), ("1-7:3", [1, 4, 7]), ("1,3,...", [1, 3])],
)
def test_tasks_that_never_started_share_one_row_of_the_accounting(listed: str, tasks: list[int]) -> None:
    rows = client.account(lambda argv: said(out=f"17_[{listed}]|CANCELLED by 0|00:00:00|1|0:0\n"), ["17"])
    assert {job: row.job for job, row in rows.items()} == {f"17_{task}": f"17_{task}" for task in tasks}


def test_jobs_are_remembered_and_broken_files_left_out(tmp_path: Path) -> None:
    one = Submitted(job="9", name="a", site="s", folder="/r", log="slurm-%j.out", submitted="2026-11-24T10:00:00")
    many = one.model_copy(update={"job": "10", "log": "slurm-%A_%a.out", "tasks": 2})
    for each in (many, one):
        remember(tmp_path, each)
    (tmp_path / "11.json").write_text("{")
    assert [each.job for each in remembered(tmp_path)] == ["9", "10"]
    assert one.parts == [("9", Path("/r"), Path("/r/slurm-9.out"))]
    assert many.parts[1] == ("10_1", Path("/r/1"), Path("/r/slurm-10_1.out"))
    assert find(tmp_path, "10_1") == many
    with pytest.raises(ConfigError, match="job 12"):
        find(tmp_path, "12")


def test_how_a_job_stands_from_slurm_and_from_its_records(tmp_path: Path) -> None:
    job = Submitted(job="9", name="a", site="s", folder=str(tmp_path), log="slurm-%j.out", submitted="x")
    row = client.Row("9", "RUNNING", "1:00", "2", "None")
    (status,) = statuses(job, {"9": row}, {})
    assert (status.state, status.done, status.images_per_s, status.alive) == ("RUNNING", 0, None, True)
    events = [{"event": "start", "updates": 30}, {"event": "progress", "update": 7, "images_per_s": 100.0}]
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, events)) + '\n{"event": "prog')
    (status,) = statuses(job, {"9": row}, {})
    assert (status.done, status.total, status.images_per_s) == (7, 30, 100.0)
    assert [one.state for one in statuses(job, None, {})] == ["UNKNOWN"]
    assert [one.alive for one in statuses(job, None, {})] == [True]
    assert [one.state for one in statuses(job, {}, {})] == ["FORGOTTEN"]
    assert [one.state for one in statuses(job, {}, {"9": client.Row("9", "TIMEOUT", "", "", "")})] == ["TIMEOUT"]
    study = job.model_copy(update={"folder": str(tmp_path / "jobs" / "nodes-1"), "events": "../../starts.jsonl"})
    Path(study.folder).mkdir(parents=True)
    events = [{"event": "start", "starts": 6}, {"event": "progress", "start": 2, "images_per_s": 50.0}]
    (tmp_path / "starts.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (status,) = statuses(study, {"9": row}, {})
    assert (status.done, status.total, status.unit, status.images_per_s) == (2, 6, "starts", 50.0)
    (tmp_path / "ended.json").write_text('{"code": 3, "job": "9", "restarts": 2}')
    (status,) = statuses(job, None, {})
    assert (status.state, status.restarts, status.alive) == ("FAILED", 2, False)
    assert status.reason == "exit code 3; slurmctld does not answer"


def test_an_end_is_told_by_who_knows_it_best(tmp_path: Path) -> None:
    job = Submitted(job="9", name="a", site="s", folder=str(tmp_path), log="slurm-%j.out", submitted="x")
    running = {"9": client.Row("9", "RUNNING", "1:00", "2", "")}
    failed = {"9": client.Row("9", "FAILED", "1:00", "2", "exit code 9")}

    def told(queue: dict[str, client.Row] | None, account: dict[str, client.Row] | None) -> tuple[str, str]:
        (status,) = statuses(job, queue, account)
        return status.state, status.reason

    assert told({}, None) == ("UNKNOWN", "the accounting does not answer")
    assert told({}, running) == ("UNKNOWN", "the accounting has not heard of its end")
    assert told(None, failed) == told({}, failed) == ("FAILED", "exit code 9")
    (tmp_path / "ended.json").write_text('{"code": 137, "job": "9", "restarts": 0}')
    assert told({}, failed) == told({}, {}) == ("FAILED", "exit code 137")
    assert told({"9": client.Row("9", "FAILED", "1:00", "2", "NonZeroExitCode")}, {}) == ("FAILED", "exit code 137")
    assert told({}, None) == ("FAILED", "exit code 137; the accounting does not answer")
    assert told({}, running) == ("FAILED", "exit code 137; the accounting has not heard of its end")
    assert told({}, {"9": client.Row("9", "TIMEOUT", "1:00", "2", "")}) == ("TIMEOUT", "")
