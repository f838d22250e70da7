"""hpcdl bench scaling --site: the whole study as Slurm jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from hpcdl.config.schema import RunConfig
    from hpcdl.slurm.job import Request
    from hpcdl.slurm.sites import Site
    from hpcdl.submission.study import Points


def submit_study(
    config: RunConfig,
    nodes: Sequence[int],
    request: Request,
    points: Points,
    site: Site,
    *,
    out: Path | None,
    data: str | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Submits one job a node count, and the report that waits for them; all of them or none.

    Raises:
        ConfigError: the site or the recipe cannot serve a node count.
        LaunchError: no Slurm, or it refuses a job.
    """
    from hpcdl.cli import cluster, prepare
    from hpcdl.config.load import dump
    from hpcdl.data.images import MEMORY
    from hpcdl.launch import folder as folders
    from hpcdl.records import write_text
    from hpcdl.slurm import client
    from hpcdl.submission import compose, send, study

    jobs = study.plan_study(config, nodes, request, site)
    threads = next(iter(jobs.values())).threads
    config = config.model_copy(update={"launch": config.launch.model_copy(update={"threads": threads})})
    folder = (out or folders.default_folder(f"scaling-{config.name}", datetime.now())).absolute()
    images = prepare.data_path(config, data) if "real" in points.inputs else Path(MEMORY)
    where = compose.Where(folder, images, prepare.own_variables())
    packages = study.study_packages(config, jobs, points, site, where, cluster.software(None))
    if dry_run:
        for name, package in packages.items():
            typer.echo(f"### {folder}/jobs/{name}/{send.SCRIPT}\n{package.script}")
        return
    cluster.need_slurm()
    folders.prepare(folder, overwrite=overwrite)
    write_text(folder / "config.yaml", dump(config))
    origin = {**cluster.origin(request), "site": site.model_dump(mode="json")}
    sent: dict[str, str] = {}
    try:
        for name, package in packages.items():
            place = folder / "jobs" / name
            place.mkdir(parents=True)
            script = send.write(package, place, origin)
            after = list(sent.values()) if name == "report" else []
            sent[name] = send.send(cluster.ask, package, script, site, cluster.registry(), after).job
    except Exception:  # half a study would be reported as a whole one
        for job in sent.values():
            client.cancel(cluster.ask, job)
        raise
    if as_json:
        typer.echo(json.dumps({"jobs": sent, "folder": str(folder)}))
        return
    for name, job in sent.items():
        ranks = packages[name].job.ranks
        told = f"{ranks} rank{'' if ranks == 1 else 's'}" if name != "report" else "after all of them"
        typer.echo(f"job {job}: {name}, {told}")
    typer.echo(f"records: {folder}\nnext: hpcdl jobs wait {sent['report']}, then open {folder}/report.html")
