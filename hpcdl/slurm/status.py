"""How a job stands: what Slurm says, and where it says nothing any more, what the records say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpcdl.records import latest_events
from hpcdl.slurm.client import Row
from hpcdl.slurm.registry import Submitted

ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "STOPPED"}
AWAY, FORGOTTEN = "UNKNOWN", "FORGOTTEN"


@dataclass(frozen=True)
class Status:
    """A job, or one task of an array.

    Attributes:
        job: Slurm's number.
        name: as Slurm shows it.
        state: Slurm's; UNKNOWN while slurmctld does not answer; FORGOTTEN where nobody knows how it ended.
        reason: why it waits or how it ended.
        elapsed: as Slurm writes it.
        nodes: how many.
        done: updates of a training, or starts of a scaling study.
        total: of them; 0 while not known.
        unit: updates or starts.
        images_per_s: of the latest progress.
        restarts: starts after the first.
        folder: of the job.
        log: its output.
    """

    job: str
    name: str
    state: str
    reason: str
    elapsed: str
    nodes: str
    done: int
    total: int
    unit: str
    images_per_s: float | None
    restarts: int
    folder: str
    log: str

    @property
    def alive(self) -> bool:
        """It may still change: in the queue, running, or nobody knows just now."""
        return self.state in ALIVE or self.state == AWAY

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def statuses(submitted: Submitted, queue: Mapping[str, Row] | None, account: Mapping[str, Row]) -> list[Status]:
    """How a job stands, or each task of an array.

    Args:
        submitted: from the registry.
        queue: what squeue said; None where slurmctld did not answer.
        account: what sacct said.
    """
    return [
        _status(number, submitted, folder, log, (queue or {}).get(number) or account.get(number), away=queue is None)
        for number, folder, log in submitted.parts
    ]


def _status(number: str, submitted: Submitted, folder: Path, log: Path, row: Row | None, *, away: bool) -> Status:
    events = latest_events(folder / submitted.events)
    progress, ended = events.get("progress", {}), _ended(folder / "ended.json")
    if row is None:
        row = _from_records(number, ended, away=away)
    start = events.get("start", {})
    unit = "starts" if "starts" in start else "updates"
    total = int(start.get(unit, 0))
    return Status(
        job=number,
        name=submitted.name,
        state=row.state,
        reason="" if row.reason in {"None", "0:0"} else row.reason,
        elapsed=row.elapsed,
        nodes=row.nodes,
        done=total if "end" in events else int(progress.get(unit.removesuffix("s"), 0)),
        total=total,
        unit=unit,
        images_per_s=(progress | events.get("end", {})).get("images_per_s"),
        restarts=int(events.get("restart", {}).get("count", ended.get("restarts", 0))),
        folder=str(folder),
        log=str(log),
    )


def _from_records(number: str, ended: Mapping[str, Any], *, away: bool) -> Row:
    if ended:
        code = int(ended["code"])
        return Row(number, "FAILED" if code else "COMPLETED", "", "", f"exit code {code}" if code else "")
    if away:
        return Row(number, AWAY, "", "", "slurmctld does not answer")
    return Row(number, FORGOTTEN, "", "", "Slurm has forgotten it, and it left no word of its end")


def _ended(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        int(found["code"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found
