"""The jobs that this user has submitted with hpcdl: one small file each, for Slurm forgets."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hpcdl.errors import ConfigError
from hpcdl.records import write_json


class Submitted(BaseModel):
    """A job as it was submitted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job: str
    """Slurm's number."""
    name: str
    """As Slurm shows it."""
    site: str
    """Of the submission."""
    folder: str
    """Of the job: script, log, how it ended."""
    events: str = "events.jsonl"
    """The file in which what it runs tells how far it is: from the folder of the job, or of an array's task."""
    log: str
    """Name of its output in the folder, with %j as Slurm has it."""
    tasks: int = 0
    """Of an array; 0: no array."""
    submitted: str
    """ISO 8601, UTC."""

    @property
    def parts(self) -> list[tuple[str, Path, Path]]:
        """(number, folder, log) of the job, or of each task of an array."""
        folder = Path(self.folder)
        if not self.tasks:
            return [(self.job, folder, folder / self.log.replace("%j", self.job))]
        return [
            (
                f"{self.job}_{task}",
                folder / str(task),
                folder / self.log.replace("%A", self.job).replace("%a", str(task)),
            )
            for task in range(self.tasks)
        ]


def remember(place: Path, submitted: Submitted) -> None:
    """Writes a job's file, under `place`."""
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / f"{submitted.job}.json", submitted)


def remembered(place: Path) -> list[Submitted]:
    """All jobs, the oldest first; files that are no jobs are left out."""
    found = []
    for path in place.glob("*.json"):
        try:
            found.append(Submitted.model_validate_json(path.read_bytes()))
        except (ValidationError, json.JSONDecodeError, OSError):
            continue
    return sorted(found, key=lambda each: (each.submitted, int(each.job)))


def find(place: Path, job: str) -> Submitted:
    """The job of a number, or of an array's task.

    Raises:
        ConfigError: none was submitted with hpcdl.
    """
    known = remembered(place)
    for each in known:
        if each.job == job.partition("_")[0]:
            return each
    raise ConfigError(
        f"job {job}",
        f"a job submitted with hpcdl: {', '.join(each.job for each in known[-5:]) or 'there is none yet'}",
        "see `hpcdl jobs list`",
    )
