"""Job scripts: the whole text of every template at every site, and what nasty values do in one that runs.

After a wanted change run HPCDL_UPDATE_GOLDEN=1 .venv/bin/python -m pytest tests/unit/test_job_scripts.py
and read the diff.
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from hpcdl.config.load import load
from hpcdl.errors import ConfigError
from hpcdl.slurm.job import Request, plan_job
from hpcdl.slurm.render import argv, render
from hpcdl.slurm.sites import Mpi, load_site, site_names
from hpcdl.submission.compose import Restart, Software, Where, point_script, report_script, train_script

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIG = load("cifar10-resnet20")
SITES = site_names()
WHERE = Where(Path("/scratch/me/runs/a"), Path("/scratch/me/data/cifar-10"))
ON_HOST = Software("/home/me/venv/bin/python", "/home/me/venv/bin/mpirun")
IN_IMAGE = Software("/home/me/venv/bin/python", "mpirun", container="/scratch/me/hpcdl.sif")


def request(site: str, nodes: int = 2, container: str | None = None) -> Request:
    known = load_site(site)
    return Request(
        nodes=nodes,
        ranks_per_node=2 if known.node.gpus is None else None,
        time="00:20:00",
        account="proj01" if known.account.required else None,
        container=container,
    )


def train(site: str) -> str:
    job = plan_job(CONFIG.name, request(site), load_site(site))
    return train_script(CONFIG, job, load_site(site), WHERE, ON_HOST, Restart())


def srun(site: str) -> str:
    """As at a site that starts ranks with Slurm's own launcher."""
    known = load_site(site).model_copy(update={"mpi": Mpi(start="srun")})
    job = plan_job(CONFIG.name, request(site), known)
    return train_script(CONFIG, job, known, WHERE, ON_HOST, Restart())


def sweep(site: str) -> str:
    job = plan_job(CONFIG.name, request(site, nodes=1), load_site(site))
    return train_script(CONFIG, job, load_site(site), WHERE, ON_HOST, Restart(requeue=True), tasks="0-5%2")


def container(site: str) -> str:
    job = plan_job(CONFIG.name, request(site, container="/scratch/me/hpcdl.sif"), load_site(site))
    return train_script(CONFIG, job, load_site(site), WHERE, IN_IMAGE, Restart())


def scaling(site: str) -> str:
    job = plan_job(CONFIG.name, request(site), load_site(site))
    command = [
        "/home/me/venv/bin/hpcdl",
        "bench",
        "scaling",
        "/scratch/me/runs/a/config.yaml",
        "--ranks",
        str(job.ranks),
    ]
    return point_script(command, CONFIG, job, load_site(site), Path("/scratch/me/runs/a/jobs/nodes-2"), {})


def report(site: str) -> str:
    asked = replace(request(site, nodes=1), ranks_per_node=1)
    job = plan_job(CONFIG.name, asked, load_site(site))
    hpcdl, folder = "/home/me/venv/bin/hpcdl", "/scratch/me/runs/a"
    commands = [[hpcdl, "bench", "join", folder], [hpcdl, "report", folder]]
    return report_script(commands, job, load_site(site), Path(f"{folder}/jobs/report"))


KINDS: dict[str, Callable[[str], str]] = {
    each.__name__: each for each in (train, srun, sweep, container, scaling, report)
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("site", SITES)
def test_the_whole_script(site: str, kind: str) -> None:
    if kind == "container" and load_site(site).container.command is None:
        with pytest.raises(ConfigError, match="--container"):
            container(site)
        return
    text = KINDS[kind](site).replace(f"hpcdl {version('hpcdl')}", "hpcdl VERSION")
    place = GOLDEN / "slurm" / site / f"{kind}.sbatch"
    if os.environ.get("HPCDL_UPDATE_GOLDEN"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    wanted = place.read_text().splitlines(keepends=True)
    changes = "".join(difflib.unified_diff(wanted, text.splitlines(keepends=True), str(place), "rendered"))
    assert not changes, f"{changes}\nif this is wanted: {__doc__}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("site", SITES)
def test_bash_can_read_it_and_sbatch_finds_its_options_at_the_top(site: str, kind: str) -> None:
    if kind == "container" and load_site(site).container.command is None:
        return
    text = KINDS[kind](site)
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    lines = text.splitlines()
    first = next(place for place, line in enumerate(lines) if line and not line.startswith("#"))
    assert not [line for line in lines[first:] if line.startswith("#SBATCH")]
    assert not [line for line in lines if line != line.rstrip()]
    assert not [line for line in lines if "$" in line and line.startswith("#SBATCH")]


NASTY = [
    "a b",
    "it's",
    'say "hi"',
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "& touch pwned &",
    "line one\ntouch pwned",
    "$HOME",
    "\\",
    "*",
    "-rf",
    "#SBATCH --nodes=99",
    "é\t|<>(){}!~",
]


@pytest.mark.parametrize("nasty", NASTY)
def test_values_reach_the_job_as_text_and_are_never_executed(tmp_path: Path, nasty: str) -> None:
    """The rendered script is run: an mpirun that only tells what it was given stands in for the ranks' own."""
    tell = tmp_path / "tell"
    tell.write_text(
        "#!/usr/bin/env python3\nimport json, os, sys\n"
        f"json.dump([sys.argv[1:], os.environ.get('NASTY')], open({str(tmp_path / 'told.json')!r}, 'w'))\n"
    )
    tell.chmod(0o755)
    work = tmp_path / "work"
    folder, data = work / f"x{nasty}" / "run", work / f"y{nasty}"
    (folder / "ranks").mkdir(parents=True)
    site = load_site("generic-cpu")
    config = load("cifar10-resnet20").model_copy(
        update={"name": nasty, "launch": CONFIG.launch.model_copy(update={"env": {"NASTY": nasty}})}
    )
    job = plan_job(nasty, request("generic-cpu"), site)
    software = Software(f"/opt/{nasty}/python", str(tell), container=f"/images/{nasty}.sif")
    script = train_script(config, job, site, Where(folder, data), software, Restart())
    (work / "job.sbatch").write_text(script)
    done = subprocess.run(
        ["bash", "job.sbatch"], cwd=work, env={**os.environ, "SLURM_JOB_ID": "7"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    arguments, variable = json.loads((tmp_path / "told.json").read_text())
    assert variable == nasty
    wanted = ["train", f"{folder}/config.yaml", "--out", str(folder), "--data", str(data)]
    wanted += ["--resume", "auto", "--prepared", "--show"]
    assert arguments[-len(wanted) :] == wanted
    assert f"/images/{nasty}.sif" in arguments
    assert json.loads((folder / "ended.json").read_text())["code"] == 0
    assert not list(tmp_path.rglob("pwned")), "executed"
    assert sorted(path.name for path in work.iterdir()) == sorted({"job.sbatch", f"x{nasty}".split("/")[0]})


def test_words_that_sbatch_reads_itself_are_refused() -> None:
    site = load_site("generic-cpu")
    for field in ("account", "qos", "partition"):
        with pytest.raises(ConfigError, match=f"--{field}"):
            plan_job("a", Request(**{field: "x y"}), site)
    assert plan_job("a;b $(c)\nd", Request(), site).name == "a-b-c-d"
    with pytest.raises(ConfigError, match="NUL"):
        argv(["a\0b"])


def test_a_value_that_a_template_misses_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="site"):
        render("report.sbatch.j2", version="1")
