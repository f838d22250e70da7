"""hpcdl train: what each rank executes; alone, a run with one rank."""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

import typer

from hpcdl.cli.lossy import lossy
from hpcdl.cli.options import Data, Engine, Out, Overrides, Overwrite, Resume
from hpcdl.errors import ConfigError, HpcdlError, Interrupted


def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A recipe's name or file.")],
    overrides: Overrides = None,
    engine: Engine = "auto",
    out: Out = None,
    data: Data = None,
    overwrite: Overwrite = False,
    resume: Resume = None,
    prepared: Annotated[bool, typer.Option("--prepared", hidden=True)] = False,
    show: Annotated[bool, typer.Option("--show", hidden=True)] = False,
) -> None:
    """Train a recipe in this process, as one rank of what mpirun or srun started, or alone.

    \b
    Examples:
      hpcdl train cifar10-cnn train.epochs=1
      mpirun -np 2 hpcdl train cifar10-cnn --out runs/a
    """
    from hpcdl.training.interrupt import Interrupt

    interrupt = Interrupt()
    faulthandler.enable()  # a crash in a library shows where Python was
    interrupt.listen()  # from the first moment, for TensorFlow's import takes seconds

    from hpcdl.cli import prepare
    from hpcdl.config.checks import check_ranks
    from hpcdl.launch import folder as folders
    from hpcdl.world import World

    world = World.from_env(os.environ)
    resolved = prepare.recipe(config, overrides or [], world.size, engine)
    check_ranks(resolved, world.size)
    # The launcher has found and checked the data already; an archive takes seconds to read.
    place = Path(data) if prepared and data else prepare.data_path(resolved, data)
    if out is None and world.size > 1:
        raise ConfigError(f"no --out for {world.size} ranks", "one folder for all ranks", "add --out FOLDER")
    folder = (out or folders.default_folder(resolved.name, datetime.now())).absolute()
    sys.stdout, sys.stderr = lossy(sys.stdout), lossy(sys.stderr)
    told = sys.stdout
    if prepared:
        told = _to_log(folder / "ranks" / f"{world.rank}.log")
    elif world.is_leader:  # the others meet rank 0 before they touch the folder
        if resume == "auto":
            prepare.reopen(folder, resolved)
        else:
            folders.prepare(folder, overwrite=overwrite)
        (folder / "ranks").mkdir(exist_ok=True)
    try:
        from rich.console import Console

        from hpcdl.cli.progress import Display
        from hpcdl.cli.run import conclusion
        from hpcdl.training.job import execute
        from hpcdl.training.watchdog import Watchdog, unheard

        quiet = not world.is_leader or (prepared and not show)
        # A job's output is a file, although mpirun gives its ranks a terminal.
        terminal = False if prepared else None
        console = Console(file=told, soft_wrap=True, markup=False, emoji=False, quiet=quiet, force_terminal=terminal)
        with Display(console) as display:
            ends = os.environ.get("SLURM_JOB_END_TIME")
            interrupt.limit(resolved.train.time_limit, float(ends) if ends else None)
            watchdog = None
            if resolved.train.stall_timeout:
                watchdog = Watchdog(resolved.train.stall_timeout, partial(_record, folder, world.rank, prepared))
            beat = watchdog.beat if watchdog else unheard
            summary = execute(resolved, place, folder, os.environ, display.show, resume, interrupt, beat)
            if watchdog:
                watchdog.stop()
        if show:
            console.print(conclusion(summary, folder), highlight=False)
    except Interrupted as stopped:
        if world.is_leader and (show or not prepared):
            told.write(f"{stopped}\n")
            told.flush()
        # Launchers end all ranks at the first that leaves with another code; stopped.json tells who prepared the run.
        sys.exit(0 if prepared else stopped.exit_code)
    except Exception as error:
        if show:
            told.write(f"rank {world.rank} failed\n{_words(error)}\n")
            told.flush()
        _leave(error, folder, world.rank, prepared=prepared)


def _to_log(path: Path) -> TextIO:
    """Sends this process's output, TensorFlow's own too, to a file; answers the output that was."""
    before = lossy(os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", closefd=False))
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    return before


def _record(folder: Path, rank: int, prepared: bool, error: Exception) -> None:
    """Leaves word of a failure for the launcher, if there is one that reads it."""
    from hpcdl.launch.run import failure_record
    from hpcdl.records import write_json

    if prepared:
        with suppress(OSError):  # the launcher tells of a disk that is full
            write_json(folder / "ranks" / f"{rank}.failure.json", failure_record(error, rank, traceback.format_exc()))


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, HpcdlError) else f"{type(error).__name__}: {error}"


def _leave(error: Exception, folder: Path, rank: int, *, prepared: bool) -> None:
    """Tells the launcher why, and ends every rank: the others would wait for this one."""
    from hpcdl.training.session import abort

    _record(folder, rank, prepared, error)
    if isinstance(error, HpcdlError) and not os.environ.get("HPCDL_DEBUG"):
        print(f"hpcdl: error\n{error}", file=sys.stderr)
    else:
        traceback.print_exc()
    abort()
    sys.exit(error.exit_code if isinstance(error, HpcdlError) else 1)
