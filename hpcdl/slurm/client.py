"""Slurm's commands: argv out, answers in. A runner, handed in, starts them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpcdl.answer import Answer, Ask
from hpcdl.errors import LaunchError

SEPARATOR = "|"
QUEUE_FORMAT = SEPARATOR.join(("%i", "%T", "%M", "%D", "%r"))
UNREACHED = ("Unable to contact slurm controller", "configuration source", "Connection refused", "no answer in")
"""In what sbatch says where it is not the job that is wrong."""
ACCOUNT_FIELDS = ("JobID", "State", "Elapsed", "NNodes", "ExitCode")
NO_ACCOUNTING = "accounting storage is disabled"
"""In what sacct says where a site keeps none."""


@dataclass(frozen=True)
class Row:
    """One job, or one task of an array, as Slurm tells it.

    Attributes:
        job: its number, as 12 or 12_3.
        state: RUNNING, PENDING, COMPLETED, …
        elapsed: as Slurm writes it.
        nodes: how many.
        reason: why it waits, or how it ended.
    """

    job: str
    state: str
    elapsed: str
    nodes: str
    reason: str


class ControllerAway(Exception):
    """The scheduler did not answer; jobs go on without it."""


class AccountingAway(Exception):
    """The site keeps accounts of jobs, and they did not answer."""


def sbatch_argv(script: Path, *, test_only: bool = False, after: Sequence[str] = ()) -> list[str]:
    """The argv that submits a script, from its own folder.

    Args:
        script: its path.
        test_only: only ask whether it would be taken.
        after: jobs that must have ended first, however they ended.
    """
    return [
        "sbatch",
        "--test-only" if test_only else "--parsable",
        f"--chdir={script.parent}",
        *([f"--dependency=afterany:{':'.join(after)}"] if after else []),
        str(script),
    ]


def submit(ask: Ask, script: Path, *, after: Sequence[str] = ()) -> str:
    """Submits a script and answers the job's number.

    Raises:
        LaunchError: Slurm refused it, in Slurm's own words.
    """
    said = ask(sbatch_argv(script, after=after))
    found = re.match(r"(\d+)", said.out)
    if said.code or found is None:
        raise _refused(script, said)
    return found[1]


def validate(ask: Ask, script: Path) -> str:
    """Asks Slurm whether it would take a script; answers what it says of the start.

    Raises:
        LaunchError: it would not.
    """
    said = ask(sbatch_argv(script, test_only=True))
    if said.code:
        raise _refused(script, said)
    return (said.err or said.out).strip().removeprefix("sbatch: ")


def queue(ask: Ask) -> dict[str, Row]:
    """The user's own jobs that Slurm still remembers, in one question.

    Raises:
        ControllerAway: slurmctld does not answer.
    """
    said = ask(["squeue", "--me", "--array", "--noheader", "--states=all", f"--format={QUEUE_FORMAT}"])
    if said.code:
        raise ControllerAway(_words(said))
    return _rows(said.out)


def account(ask: Ask, jobs: Sequence[str]) -> dict[str, Row]:
    """Jobs from the accounting; nothing where the site keeps none.

    Raises:
        AccountingAway: slurmdbd does not answer.
    """
    if not jobs:
        return {}
    asked = f"--jobs={','.join(jobs)}", f"--format={','.join(ACCOUNT_FIELDS)}"
    try:
        said = ask(["sacct", "--noheader", "--parsable2", "--allocations", *asked])
    except LaunchError:  # no sacct on this machine
        return {}
    if NO_ACCOUNTING in said.err:
        return {}
    if said.code:
        raise AccountingAway(_words(said))
    rows = [replace(row, reason=_how(row.reason)) for row in _rows(said.out).values()]
    return {task: replace(row, job=task) for row in rows for task in _tasks(row.job)}


def cancel(ask: Ask, job: str) -> None:
    """Ends a job.

    Raises:
        LaunchError: Slurm refused.
    """
    said = ask(["scancel", job])
    if said.code or said.err.strip():
        raise LaunchError(f"scancel {job}: {_words(said)}", "a job of yours", "see `hpcdl jobs list`")


def _rows(text: str) -> dict[str, Row]:
    rows = {}
    for line in text.splitlines():
        words = line.strip().split(SEPARATOR)
        if len(words) == len(ACCOUNT_FIELDS):
            job, state, *rest = words
            # "CANCELLED by 0"
            rows[job] = Row(job, state.split()[0] if state else "", *rest)
    return rows


def _tasks(job: str) -> list[str]:
    """Those of 12_[0-2,7%1], the one row of tasks that were cancelled before they started; else the job itself."""
    number, bracket, listed = job.partition("_[")
    parts = re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?(?:,|$)", re.sub(r"(%\d+)?\]$", "", listed))
    ranges = [range(int(first), int(last or first) + 1, int(step or 1)) for first, last, step in parts]
    return [f"{number}_{task}" for tasks in ranges for task in tasks] if bracket else [job]


def _how(ended: str) -> str:
    """CODE:SIGNAL in words."""
    code, _, signal = ended.partition(":")
    if signal not in ("", "0"):
        return f"signal {signal}"
    return "" if code in ("", "0") else f"exit code {code}"


def _refused(script: Path, said: Answer) -> LaunchError:
    if any(word in said.err for word in UNREACHED):
        return LaunchError(
            f"sbatch: {_words(said)}",
            "a Slurm that answers",
            "see `scontrol ping`; SLURM_CONF or /etc/slurm/slurm.conf says where it is",
        )
    return LaunchError(
        f"sbatch {script}: {_words(said)}",
        "a job that Slurm takes",
        "change what it names (--account, --qos, --partition, --nodes, --time), or the site's file",
    )


def _words(said: Answer) -> str:
    lines = [line.strip() for line in (said.err or said.out).splitlines() if line.strip()]
    return "; ".join(re.sub(r"^\w+: (error|fatal): ", "", line) for line in lines[-2:]) or f"exit code {said.code}"
