"""hpcdl jobs: what became of submitted jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdl.cli.options import Json
from hpcdl.errors import ConfigError

if TYPE_CHECKING:
    from hpcdl.slurm.registry import Submitted
    from hpcdl.slurm.status import Status

app = typer.Typer(no_args_is_help=True, help="Jobs that were submitted with hpcdl.")
Id = Annotated[str, typer.Argument(metavar="ID", help="A job's number, or TASK of an array as 12_3.")]
LOOK_SECONDS = 1.0
"""Between two looks at files."""
ASK_SECONDS = (5.0, 60.0)
"""Between two questions to Slurm: the first ones, and the longest. Sites limit how often it is asked."""
COLUMNS = ("job", "name", "state", "elapsed", "nodes", "progress", "images/s", "reason")


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False, as_json: Json = False
) -> None:
    """List your jobs: state, time, progress and images/s; ended ones with --all.

    \b
    Example:
      hpcdl jobs list --all
    """
    from hpcdl.cli import cluster
    from hpcdl.slurm.registry import remembered

    cluster.need_slurm()
    known = remembered(cluster.registry())
    found = [status for status in _statuses(known, ended=everything) if everything or status.alive]
    if as_json:
        typer.echo(json.dumps([status.as_dict() for status in found]))
        return
    if not found:
        typer.echo("no jobs" if everything else "no jobs in the queue; --all lists ended ones")
        return
    for line in _table(found):
        typer.echo(line)


@app.command("show")
def show(job: Id, as_json: Json = False) -> None:
    """Tell how a job stands, and where its records are.

    \b
    Example:
      hpcdl jobs show 1234
    """
    from hpcdl.cli import cluster

    cluster.need_slurm()
    found = _of(job)
    if as_json:
        typer.echo(json.dumps([status.as_dict() for status in found]))
        return
    for status in found:
        for key, value in status.as_dict().items():
            if value not in ("", None):
                typer.echo(f"{key:12} {value:,.1f}" if isinstance(value, float) else f"{key:12} {value}")


@app.command("logs")
def logs(
    job: Id,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job has ended.")] = False,
    rank: Annotated[int | None, typer.Option("--rank", help="What that rank wrote, instead of the job.")] = None,
) -> None:
    """Print a job's output.

    \b
    Examples:
      hpcdl jobs logs -f 1234
      hpcdl jobs logs 1234_2 --rank 3
    """
    from hpcdl.cli import cluster
    from hpcdl.slurm.registry import find

    cluster.need_slurm()
    submitted = find(cluster.registry(), job)
    parts = {number: (folder, log) for number, folder, log in submitted.parts}
    if job not in parts:
        raise ConfigError(f"job {job}, an array", f"one of its tasks, {', '.join(parts)}", f"hpcdl jobs logs {job}_0")
    folder, log = parts[job]
    path = log if rank is None else folder / "ranks" / f"{rank}.log"
    place = _print_from(path, 0)
    if not follow:
        if not path.exists():
            typer.echo(f"nothing in {path} yet", err=True)
        return
    for statuses in _changes(submitted):
        place = _print_from(path, place)
        if not any(status.alive for status in statuses if status.job == job):
            break
    sleep(LOOK_SECONDS)  # a file system may show the last lines late
    _print_from(path, place)


@app.command("cancel")
def cancel(job: Id) -> None:
    """End a job, whether it waits or runs; its records stay.

    \b
    Example:
      hpcdl jobs cancel 1234
    """
    from hpcdl.cli import cluster
    from hpcdl.slurm import client
    from hpcdl.slurm.registry import find

    cluster.need_slurm()
    find(cluster.registry(), job)
    client.cancel(cluster.ask, job)
    typer.echo(f"job {job} is told to end")


@app.command("wait")
def wait(job: Id, as_json: Json = False) -> None:
    """Wait until a job has ended; exit 0 if it reached its end, 1 if not.

    \b
    Example:
      hpcdl jobs wait 1234 && hpcdl evaluate runs/a
    """
    from hpcdl.cli import cluster
    from hpcdl.slurm.registry import find

    cluster.need_slurm()
    submitted = find(cluster.registry(), job)
    told: dict[str, str] = {}
    for statuses in _changes(submitted):
        statuses = [status for status in statuses if job in (submitted.job, status.job)]
        for status in statuses:
            if told.get(status.job) != status.state and not as_json:
                told[status.job] = status.state
                typer.echo(f"{status.job} {status.state} {status.reason}".rstrip())
        if not any(status.alive for status in statuses):
            break
    if as_json:
        typer.echo(json.dumps([status.as_dict() for status in statuses]))
    if any(status.state != "COMPLETED" for status in statuses):
        raise typer.Exit(1)


def _changes(submitted: Submitted) -> Iterator[list[Status]]:
    """How the job stands, again and again; Slurm is asked ever more rarely, files are looked at often."""
    pause, asked = ASK_SECONDS[0], float("-inf")
    found: list[Status] = []
    while True:
        ended = all((folder / "ended.json").exists() for _, folder, _ in submitted.parts)
        if monotonic() - asked >= pause or (ended and monotonic() - asked >= ASK_SECONDS[0]):
            pause = min(pause * 1.5, ASK_SECONDS[1]) if asked > 0 else pause
            asked = monotonic()
            found = _statuses([submitted])
        yield found
        sleep(LOOK_SECONDS)


@cache
def _note(told: str) -> None:
    """Says it once, however often the records are read."""
    typer.echo(told, err=True)


def _of(job: str) -> list[Status]:
    from hpcdl.cli import cluster
    from hpcdl.slurm.registry import find

    submitted = find(cluster.registry(), job)
    return [status for status in _statuses([submitted]) if job in (submitted.job, status.job)]


def _statuses(jobs: list[Submitted], *, ended: bool = True) -> list[Status]:
    """One question to the queue for all jobs, and one to the accounting for those that it has forgotten.

    Args:
        jobs: from the registry.
        ended: tell those too that the queue no longer has; always so while there is no queue to see.
    """
    from hpcdl.cli import cluster
    from hpcdl.slurm import client
    from hpcdl.slurm.status import statuses

    try:
        queue = client.queue(cluster.ask)
    except client.ControllerAway:
        queue = None
    known = queue or {}
    gone = [each.job for each in jobs if any(part[0] not in known for part in each.parts)]
    if queue is not None and not ended:
        jobs = [each for each in jobs if any(part[0] in queue for part in each.parts)]
        gone = []
    try:
        account = client.account(cluster.ask, gone)
    except client.AccountingAway:
        account = None
    return [status for each in jobs for status in statuses(each, queue, account, _note)]


def _table(found: list[Status]) -> list[str]:
    rows = [COLUMNS]
    for status in found:
        progress = f"{status.done}/{status.total} {status.unit}" if status.total else ""
        rate = "" if status.images_per_s is None else f"{status.images_per_s:,.0f}"
        rows.append(
            (status.job, status.name, status.state, status.elapsed, status.nodes, progress, rate, status.reason)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _print_from(path: Path, place: int) -> int:
    """Prints what was added to a file since a place; answers the new place."""
    if not path.exists():
        return place
    with path.open("rb") as file:
        file.seek(place)
        text = file.read()
    typer.echo(text.decode("utf-8", errors="replace"), nl=False)
    return place + len(text)
