"""The scripts of a run, a sweep and a scaling study: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from hpcdl.config.schema import RunConfig
from hpcdl.containers.apptainer import exec_argv
from hpcdl.launch.topology import Topology
from hpcdl.launch.tuning import network, tune
from hpcdl.slurm.job import Job
from hpcdl.slurm.render import render
from hpcdl.slurm.sites import Site

LOG, TASK_LOG = "slurm-%j.out", "slurm-%A_%a.out"


@dataclass(frozen=True)
class Software:
    """What a job runs.

    Attributes:
        python: path of the interpreter that has hpcdl, on the host.
        mpirun: path or name.
        root: the jobs are root's, whom Open MPI refuses without being told.
        container: path of an image; None runs on the host.
    """

    python: str
    mpirun: str
    root: bool = False
    container: str | None = None


@dataclass(frozen=True)
class Restart:
    """Whether a job goes back to the queue before its time is over.

    Attributes:
        requeue: on USR2.
        notice: seconds before the end at which Slurm sends it.
    """

    requeue: bool = False
    notice: int = 120


@dataclass(frozen=True)
class Where:
    """Folders on a file system that all nodes see."""

    folder: Path
    data: Path
    own: Mapping[str, str] = field(default_factory=dict)
    """Variables that the user set; they win over what is chosen."""


def train_script(
    config: RunConfig, job: Job, site: Site, where: Where, software: Software, restart: Restart, tasks: str = ""
) -> str:
    """The job that trains a recipe, or, as an array, one recipe a task.

    Args:
        config: the recipe; of an array, the first.
        job: what is asked of Slurm.
        site: where.
        where: the run's folder, which holds config.yaml; of an array, one folder of that kind a task.
        software: what runs.
        restart: before the time is over.
        tasks: --array, as "0-5%2"; empty for one run.
    """
    inner = ["hpcdl", "train"] if software.container else [software.python, "-P", "-m", "hpcdl", "train"]
    return render(
        "train.sbatch.j2",
        job=job,
        site=site,
        log=TASK_LOG if tasks else LOG,
        tasks=tasks,
        folder=where.folder,
        data=where.data,
        requeue=restart.requeue,
        notice=restart.notice,
        env=environment(config, job, site, where.own),
        container=software.container,
        mpirun=software.mpirun,
        as_root=software.root,
        command=_contained(inner, site, software, where),
        version=version("hpcdl"),
    )


def point_script(
    command: Sequence[str], config: RunConfig, job: Job, site: Site, folder: Path, own: Mapping[str, str]
) -> str:
    """The job that measures one node count of a scaling study with `hpcdl bench scaling`.

    Args:
        command: its argv.
        config: the recipe.
        job: nodes and ranks of the point.
        site: where.
        folder: of the job.
        own: variables that the user set.
    """
    return render(
        "scaling.sbatch.j2",
        job=job,
        site=site,
        log=LOG,
        tasks="",
        folder=folder,
        env=environment(config, job, site, own),
        container=None,
        command=command,
        version=version("hpcdl"),
    )


def report_script(commands: Sequence[Sequence[str]], job: Job, site: Site, folder: Path) -> str:
    """The job that runs commands one after the other on one node, without ranks."""
    return render(
        "report.sbatch.j2",
        job=job,
        site=site,
        log=LOG,
        tasks="",
        folder=folder,
        commands=commands,
        version=version("hpcdl"),
    )


def environment(config: RunConfig, job: Job, site: Site, own: Mapping[str, str]) -> dict[str, str]:
    """Variables of every rank: what hpcdl chooses, what the site needs, what the user and the recipe set."""
    node = Topology(site.name, (), job.threads * job.ranks_per_node, site.about.title, site.node.memory_gib or 0.0)
    told = {**network(site.interface), **site.env, **own, **config.launch.env}
    return dict(tune(node, job.ranks_per_node, threads=job.threads, env=told).env)


def _contained(inner: Sequence[str], site: Site, software: Software, where: Where) -> list[str]:
    if software.container is None:
        return list(inner)
    return exec_argv(
        site.container.command or "apptainer",
        software.container,
        inner,
        gpu=site.container.gpu if site.node.gpus != 0 else None,
        binds=[str(where.folder), str(where.data), *site.container.bind],
        env={},
    )
