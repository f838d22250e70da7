"""The one way into the queue: write the folder, ask Slurm, submit, remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpcdl.answer import Ask
from hpcdl.records import write_json, write_text
from hpcdl.slurm import client
from hpcdl.slurm.job import Job
from hpcdl.slurm.registry import Submitted, remember
from hpcdl.slurm.sites import Site

SCRIPT = "job.sbatch"


@dataclass(frozen=True)
class Package:
    """One job, whole.

    Attributes:
        script: text of job.sbatch.
        files: further texts by their path in the folder, as "config.yaml" or "0/config.yaml".
        job: what is asked of Slurm.
        log: name of the output, with %j.
        tasks: of an array.
        events: file of what runs, from the job's folder.
    """

    script: str
    files: Mapping[str, str]
    job: Job
    log: str
    tasks: int = 0
    events: str = "events.jsonl"


def write(package: Package, folder: Path, origin: Mapping[str, Any]) -> Path:
    """Writes a job's folder, which exists; answers the script's path.

    Args:
        package: what to write.
        folder: of the run.
        origin: for submission.json: command, git, environment, site.
    """
    for name, text in package.files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, text)
        if place.name == "config.yaml":
            (place.parent / "ranks").mkdir(exist_ok=True)
    write_json(folder / "submission.json", {**origin, "job": vars(package.job)})
    script = folder / SCRIPT
    write_text(script, package.script)
    return script


def send(ask: Ask, package: Package, script: Path, site: Site, registry: Path, after: Sequence[str] = ()) -> Submitted:
    """Submits a written job, once Slurm has said that it would take it, and remembers it.

    Raises:
        LaunchError: Slurm refuses.
    """
    client.validate(ask, script)
    job = client.submit(ask, script, after=after)
    submitted = Submitted(
        job=job,
        name=package.job.name,
        site=site.name,
        folder=str(script.parent),
        events=package.events,
        log=package.log,
        tasks=package.tasks,
        submitted=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_json(script.parent / "job.json", submitted)
    remember(registry, submitted)
    return submitted
