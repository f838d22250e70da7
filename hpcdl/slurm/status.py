"""How a job stands: what Slurm says, and where it says nothing any more, what the records say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
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
        state: Slurm's; UNKNOWN while who could tell does not; FORGOTTEN where nobody knows how it ended.
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


def statuses(
    submitted: Submitted,
    queue: Mapping[str, Row] | None,
    account: Mapping[str, Row] | None,
    tell: Callable[[str], object] = lambda note: None,
) -> list[Status]:
    """How a job stands, or each task of an array.

    Args:
        submitted: from the registry.
        queue: what squeue said; None where slurmctld did not answer.
        account: what sacct said; None where slurmdbd did not answer.
        tell: hears of records that are torn.
    """
    found = []
    for number, folder, log in submitted.parts:
        ended = _ended(folder / "ended.json")
        told = (queue or {}).get(number) or _settled((account or {}).get(number))
        row = _exact(told, ended) if told else _from_records(number, ended, _doubts(number, queue, account))
        found.append(_status(submitted, folder, log, row, ended, tell))
    return found


def _status(
    submitted: Submitted, folder: Path, log: Path, row: Row, ended: Mapping[str, Any], tell: Callable[[str], object]
) -> Status:
    events = latest_events(folder / submitted.events, tell)
    progress, start = events.get("progress", {}), events.get("start", {})
    unit = "starts" if "starts" in start else "updates"
    total = int(start.get(unit, 0))
    return Status(
        job=row.job,
        name=submitted.name,
        state=row.state,
        reason="" if row.reason == "None" else row.reason,
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


def _settled(row: Row | None) -> Row | None:
    """The accounting's word of an end; it hears late of ends, so a job that it takes for alive may not be."""
    return None if row is None or row.state in ALIVE else row


def _exact(row: Row, ended: Mapping[str, Any]) -> Row:
    """With the script's own exit code: squeue tells none, and sacct takes 128 off one that stands for a signal."""
    code = ended.get("code") if row.state == "FAILED" else None
    return replace(row, reason=f"exit code {code}") if code else row


def _doubts(number: str, queue: Mapping[str, Row] | None, account: Mapping[str, Row] | None) -> list[str]:
    """Why Slurm may know more of an end than it tells now."""
    return [
        *(["slurmctld does not answer"] if queue is None else []),
        *(["the accounting does not answer"] if account is None else []),
        *(["the accounting has not heard of its end"] if account and number in account else []),
    ]


def _from_records(number: str, ended: Mapping[str, Any], doubts: list[str]) -> Row:
    if ended:
        code = int(ended["code"])
        if code == 0:
            return Row(number, "COMPLETED", "", "", "")
        # One that was cancelled left a code too: without Slurm it is told as any other failure.
        return Row(number, "FAILED", "", "", "; ".join([f"exit code {code}", *doubts]))
    if doubts:
        return Row(number, AWAY, "", "", "; ".join(doubts))
    return Row(number, FORGOTTEN, "", "", "Slurm has forgotten it, and it left no word of its end")


def _ended(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        int(found["code"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found
