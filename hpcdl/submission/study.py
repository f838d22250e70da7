"""A scaling study at a site: one job a node count, then one that joins what they measured and reports it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpcdl.config.checks import check_ranks
from hpcdl.config.schema import RunConfig
from hpcdl.records import STARTS
from hpcdl.slurm.job import Job, Request, plan_job
from hpcdl.slurm.sites import Site
from hpcdl.submission.compose import LOG, Software, Where, point_script, report_script
from hpcdl.submission.send import Package

REPORT_TIME = "00:15:00"


@dataclass(frozen=True)
class Points:
    """What each job measures; as the options of `hpcdl bench scaling`.

    Attributes:
        mode: weak, strong or both.
        engines: names, and not auto, so that one rank is a point of the same series.
        repeats: starts.
        steps: measured steps of each start.
        warmup: steps before them, or auto.
        inputs: real, synthetic or both.
        target: test accuracy that other starts train to; None: none do.
        accuracy_repeats: of those.
    """

    mode: str
    engines: tuple[str, ...]
    repeats: int
    steps: int
    warmup: str
    inputs: tuple[str, ...]
    target: float | None
    accuracy_repeats: int

    @property
    def options(self) -> list[str]:
        """Of the command."""
        accuracy = ["--to-accuracy", str(self.target), "--accuracy-repeats", str(self.accuracy_repeats)]
        return [
            *("--mode", self.mode, "--engines", ",".join(self.engines), "--input", ",".join(self.inputs)),
            *("--repeats", str(self.repeats), "--steps", str(self.steps), "--warmup", self.warmup),
            *(accuracy if self.target is not None else []),
        ]


def plan_study(config: RunConfig, nodes: Sequence[int], request: Request, site: Site) -> dict[int, Job]:
    """The job of each node count.

    Raises:
        ConfigError: the site cannot serve one of them.
    """
    return {count: plan_job(f"{config.name}-{count}n", replace(request, nodes=count), site) for count in nodes}


def study_packages(
    config: RunConfig, jobs: dict[int, Job], points: Points, site: Site, where: Where, software: Software
) -> dict[str, Package]:
    """Every job's script by the name of its folder under `jobs/`, the report's last.

    Args:
        config: the recipe, as the study's config.yaml.
        jobs: from plan_study.
        points: what each measures.
        site: where.
        where: the study's folder and the data.
        software: what runs; the ranks run outside of images.

    Raises:
        ConfigError: a world size that the recipe cannot serve.
    """
    hpcdl = [software.python, "-P", "-m", "hpcdl"]
    packages = {}
    for count, job in jobs.items():
        if points.mode == "strong" or points.target is not None:
            check_ranks(config, job.ranks)
        name = f"nodes-{count}"
        command = [
            *(*hpcdl, "bench", "scaling", str(where.folder / "config.yaml")),
            *("--ranks", str(job.ranks), *points.options),
            *("--data", str(where.data), "--out", str(where.folder / name), "--overwrite"),
            *(["--launcher", f"srun:{site.mpi.pmi}"] if site.mpi.start == "srun" else []),
        ]
        script = point_script(command, config, job, site, where.folder / "jobs" / name, where.own)
        packages[name] = Package(script, {}, job, LOG, events=f"../../{name}/{STARTS}")
    first = jobs[min(jobs)]
    asked = Request(1, 1, None, REPORT_TIME, first.account, first.qos, first.partition)
    job = plan_job(f"{config.name}-report", asked, site)
    commands = [[*hpcdl, "bench", "join", str(where.folder)], [*hpcdl, "report", str(where.folder)]]
    script = report_script(commands, job, site, where.folder / "jobs" / "report")
    return {**packages, "report": Package(script, {}, job, LOG)}
