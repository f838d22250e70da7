"""What the doctor makes of Slurm, and of a site that is described; answers that no program gave are named as such."""

from __future__ import annotations

from pathlib import Path

import pytest
from doctor_answers import (
    DOWN,
    HYDRA_RUN,
    NO_ACCOUNTING,
    NO_CONFIG,
    OPEN,
    PLUGINS,
    here,
    interface_files,
    states,
)

from hpcdl.answer import Answer
from hpcdl.doctor import site, site_slurm, slurm
from hpcdl.doctor.examine import Examination
from hpcdl.doctor.findings import Finding, worst
from hpcdl.slurm.sites import Site, load_site, site_names, site_path


def test_a_machine_without_slurm_is_well_and_one_without_controller_is_told() -> None:
    assert states(slurm.check(here(), OPEN)) == {"Slurm": "ok"}
    version = Answer(0, "slurm-wlm 22.05.8\n", "")
    (told,) = slurm.check(here({"sinfo": NO_CONFIG, "scontrol": NO_CONFIG}), OPEN)
    assert told.state == "warning" and "configuration source" in told.told
    (told,) = slurm.check(here({"sinfo --version": version, "scontrol ping": Answer(1, DOWN, "")}), OPEN)
    assert told.state == "warning" and "Slurmctld(primary) at vm is DOWN" in told.told


def test_a_cluster_that_answers() -> None:
    answers = {
        "sinfo --version": Answer(0, "slurm-wlm 22.05.8\n", ""),
        "scontrol ping": Answer(0, "Slurmctld(primary) at vm is UP\n", ""),
        "srun --mpi=list": Answer(0, "", PLUGINS),
        "sacctmgr": NO_ACCOUNTING,
    }
    found = slurm.check(here(answers, environ={"SLURM_JOB_ID": "12", "SLURM_NTASKS": "4"}), OPEN)
    assert states(found) == {"Slurm": "ok", "job": "ok", "srun --mpi": "ok", "accounting": "ok"}
    assert "inside 12" in found[1].told and "slurmdbd" in found[3].told


def test_srun_without_pmix_leaves_open_mpi_alone() -> None:
    told = slurm.judge_plugins(["none", "pmi2"], OPEN)
    assert told.state == "warning" and "alone" in told.told and "libpmix2" in told.mend
    assert slurm.judge_plugins(["none", "pmi2"], HYDRA_RUN).state == "ok"


ROWS = "acc|3-00:00:00|40|190000|gpu:h100:4|2\ngpp*|infinite|2|4000|(null)|2\n"
"""Recorded from Slurm 22.05."""
SITE = {
    "name": "mn",
    "about": {"title": "a test", "source": "documents", "date": "2026-11-24", "unverified": "all"},
    "node": {"gpus": 4, "cores": 40, "memory_gib": 185},
    "ask": {"partition": "acc", "gpu_type": "h100"},
    "limits": {"time": "3-00:00:00", "nodes": 2},
}


def judged(**changed: object) -> dict[str, Finding]:
    """A site against ROWS."""
    described = Site.model_validate({**SITE, **changed})
    answers = {"sinfo": Answer(0, ROWS, ""), "sacctmgr": NO_ACCOUNTING, "srun": Answer(0, PLUGINS, "")}
    machine = here(answers, environ={"USER": "ana"})
    return {each.name: each for each in site_slurm.check(machine, described, "mn.yaml", OPEN)}


def test_a_site_that_is_as_described() -> None:
    found = judged()
    assert worst(found.values()) == "ok"
    assert {"partition", "node.cores", "node.memory_gib", "node.gpus", "limits.time", "limits.nodes"} <= found.keys()


@pytest.mark.parametrize(
    ("changed", "name", "state", "mend"),
    [
        ({"node": {"gpus": 4, "cores": 80}}, "node.cores", "failure", "change node.cores in mn.yaml to 40"),
        ({"node": {"gpus": 4, "cores": 20}}, "node.cores", "warning", "node.threads_per_core to 2"),
        ({"node": {"gpus": 4, "memory_gib": 480}}, "node.memory_gib", "failure", "to 185"),
        ({"node": {"gpus": 8}}, "node.gpus", "failure", "change node.gpus in mn.yaml to 4"),
        ({"node": {"gpus": 2}}, "node.gpus", "warning", "change node.gpus in mn.yaml to 4"),
        ({"ask": {"partition": "acc", "gpu_type": "a100"}}, "ask.gpu_type", "failure", "to h100"),
        ({"ask": {"partition": "big"}}, "partition", "failure", "one of: acc, gpp"),
        ({"ask": {}, "node": {}}, "ask.gpus", "failure", "change ask.gpus in mn.yaml to none"),
        ({"limits": {"time": "4-00:00:00"}}, "limits.time", "failure", "'3-00:00:00'"),
        ({"limits": {"nodes": 8}}, "limits.nodes", "failure", "change limits.nodes in mn.yaml to 2"),
        ({"ask": {"partition": "acc", "qos": "debug"}}, "qos", "warning", "--test-only"),
        ({"queues": {"fast": {}}}, "queues", "warning", "correct queues in mn.yaml"),
        ({"account": {"required": True}}, "account", "warning", "--account"),
        ({"mpi": {"start": "srun", "pmi": "pmix_v9"}}, "mpi.pmi", "failure", "one of: pmix, none"),
        ({"mpi": {"start": "srun", "pmi": "pmi2"}}, "mpi.pmi", "failure", "mpi.start to mpirun"),
    ],
)
def test_what_a_site_promises_and_slurm_does_not_have(
    changed: dict[str, object], name: str, state: str, mend: str
) -> None:
    found = judged(**changed)
    assert found[name].state == state and mend in found[name].mend


def test_accounting_that_is_away_is_not_told_as_none() -> None:
    refused = Answer(1, "", "sacctmgr: error: Sending PersistInit msg: Connection refused\n")
    found = slurm.judge_accounting(refused)
    assert found.state == "warning" and "does not answer: sacctmgr: error: Sending" in found.told
    row = Answer(0, "hpcdl-test|127.0.0.1|49409|9728|1||||||||normal|\n", "")
    assert slurm.judge_accounting(row).told == "cluster hpcdl-test"


def test_accounting_tells_of_qos_and_accounts() -> None:
    assert site_slurm.judge_queues(Site.model_validate({**SITE, "ask": {"qos": "x"}}), {"acc"}, ["y"], "f")[
        0
    ].state == ("failure")
    described = Site.model_validate(SITE)
    assert states(site_slurm.judge_account(described, {}, ["bsc01"])) == {"account": "ok"}
    assert states(site_slurm.judge_account(described, {"SBATCH_ACCOUNT": "x"}, ["bsc01"])) == {"account": "failure"}
    assert judged(ask={"partition": None})["partition"].told == "gpp, Slurm's default"


def test_without_slurm_a_site_is_checked_as_far_as_this_node_tells(tmp_path: Path) -> None:
    interface_files(tmp_path, eth0="1000")
    described = Site.model_validate(
        {**SITE, "interface": "ib0", "container": {"command": "singularity"}, "modules": ["singularity/4"]}
    )
    found = {each.name: each for each in site.check(here(root=tmp_path), described, Path("mn.yaml"), None, None)}
    assert "only local lines" in found["Slurm"].told and found["Slurm"].state == "warning"
    assert found["interface"].state == found["container.command"].state == found["modules"].state == "warning"
    assert "mn.yaml" in found["interface"].mend
    assert site.judge_module("singularity/4", "/apps/modules:\nsingularity/4(default)\ncuda/12\n", "f").state == "ok"
    assert site.judge_module("singularity", "singularity/4\n", "f").state == "ok"
    assert "singularity/4" in site.judge_module("singularity/5", "singularity/4\n", "f").mend


def test_every_shipped_site_can_be_checked_anywhere(tmp_path: Path) -> None:
    examination = Examination(here(environ={"PATH": ""}))
    for name in site_names():
        section = examination.site(load_site(name), site_path(name, tmp_path), tmp_path)
        assert worst(section.findings) != "failure", section
    (tmp_path / "local.yaml").touch()
    assert site_path("local", tmp_path) == tmp_path / "local.yaml"
    assert site_path("a/b.yml", tmp_path) == Path("a/b.yml")
