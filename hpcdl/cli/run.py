"""hpcdl run: start the ranks of a recipe or of a user's own script."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpcdl.cli.options import (
    Binding,
    Data,
    DryRun,
    Engine,
    Hosts,
    Interface,
    Json,
    Launcher,
    Out,
    Oversubscribe,
    Overwrite,
    Resume,
    Threads,
)
from hpcdl.errors import ConfigError

if TYPE_CHECKING:
    from hpcdl.launch.plan import Machine, Plan
    from hpcdl.launch.topology import Topology

Tell = Callable[[str], None]


def run(
    target: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|SCRIPT.py", help="A recipe's name or file, or a Python script that calls hpcdl.init()."
        ),
    ],
    rest: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE|ARGUMENT", help="Changes to the recipe; for a script, its arguments after --."
        ),
    ] = None,
    ranks: Annotated[
        int | None,
        typer.Option("-n", "--ranks", help="Ranks to start (the world size); default 1, with --hosts all their slots."),
    ] = None,
    hosts: Hosts = None,
    interface: Interface = None,
    launcher: Launcher = "mpirun",
    engine: Engine = "auto",
    threads: Threads = None,
    binding: Binding = None,
    out: Out = None,
    data: Data = None,
    oversubscribe: Oversubscribe = False,
    overwrite: Overwrite = False,
    resume: Resume = None,
    max_restarts: Annotated[
        int,
        typer.Option(
            "--max-restarts",
            min=0,
            help="After a failure, start again; at most so often in a row without a newer checkpoint.",
        ),
    ] = 0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Start the ranks of a recipe, or of a script: here, on hosts that ssh reaches, or on a Slurm job's nodes.

    Named hosts are asked first, whether they have the same software, data and script at the same paths.
    HPCDL_SSH='ssh -F FILE' reaches them another way.

    SIGTERM, SIGINT (Ctrl-C) or SIGUSR2 stops a recipe after a checkpoint, with exit code 75; --resume auto goes on.
    A second one, more than a second later, ends it at once.

    \b
    Examples:
      hpcdl run cifar10-cnn -n 2 train.epochs=1 --out runs/a
      hpcdl run my.yaml -n 4 --engine mpi --dry-run
      hpcdl run script.py -n 2 -- --my-option 3
      hpcdl run cifar10-cnn -n 2 --out runs/a --resume auto
      hpcdl run cifar10-cnn --hosts node1:4,node2:4 --interface ib0
    """
    from hpcdl.cli import prepare
    from hpcdl.config.engines import resolve
    from hpcdl.config.load import launch_config
    from hpcdl.launch import folder as folders
    from hpcdl.launch.hosts import Listed, offered
    from hpcdl.launch.plan import plan_recipe, plan_script
    from hpcdl.launch.run import run_recipe
    from hpcdl.launch.tuning import check_slots

    where = prepare.place(hosts, interface, launcher)
    ranks = prepare.wanted_ranks(ranks, where)
    here = prepare.machine(ranks, where)
    check_slots(here.topology, ranks, oversubscribe=oversubscribe, where=where)
    if target.endswith(".py"):
        _check_script(
            Path(target),
            {"--out": out, "--data": data, "--overwrite": overwrite, "--json": as_json, "--resume": resume},
        )
        name, engine = Path(target).name, resolve(engine, ranks)
        planned = partial(plan_script, Path(target), rest or [], engine=engine, launch=launch_config(threads, binding))
        plan = planned(ranks, machine=here)
        needed = {"script": Path(target).absolute()}
    else:
        settings = [f"launch.{key}={value}" for key, value in (("threads", threads), ("binding", binding)) if value]
        config = prepare.recipe(target, [*(rest or []), *settings], ranks, engine)
        name, engine = config.name, resolve(config.engine.name, ranks)
        folder = (out or folders.default_folder(name, datetime.now())).absolute()
        place = prepare.data_path(config, data)
        if resume == "auto" and (out is None or overwrite):
            raise ConfigError(
                f"--resume auto {'with --overwrite' if overwrite else 'without --out'}",
                "the folder of the run to go on with, which stays",
                "leave --overwrite out" if overwrite else "add --out FOLDER",
            )
        resume = resume if resume in (None, "auto") else str(Path(resume).absolute())
        plan, needed = plan_recipe(config, ranks, folder, place, here, resume), prepare.needed(config, place)
    announcement = _announcement(name, engine, plan, here.topology)
    if dry_run:
        typer.echo(shlex.join(plan.argv))
        return
    prepare.check(here, needed)

    def left(again: bool) -> tuple[Machine, int]:
        """The hosts that still answer, and how many ranks they take."""
        machine = prepare.remaining(here) if again else here
        return machine, min(ranks, sum(offered(machine.where))) if isinstance(machine.where, Listed) else ranks

    if target.endswith(".py"):

        def start_script(again: bool, env: dict[str, str]) -> Plan:
            machine, many = left(again)
            return planned(many, machine=machine, env=env)

        _run_script(start_script, announcement, max_restarts)
    else:
        if resume == "auto":
            prepare.reopen(folder, config)
        else:
            folders.prepare(folder, overwrite=overwrite)

        def start(again: bool, watch: Callable[[], None], tell: Tell) -> dict[str, Any]:
            if again:
                folders.reopen(folder)
            machine, many = left((folder / "launch.json").exists())
            since = "auto" if again else resume
            plan = plan_recipe(config, many, folder, place, machine, since)
            replaces = overwrite or since is not None
            return run_recipe(plan, config, folder, machine, os.environ, watch, tell, overwrite=replaces)

        _run_recipe(start, folder, announcement, max_restarts, as_json=as_json)


def _check_script(script: Path, given: dict[str, object]) -> None:
    """Refuses a script that is not there, and options that mean nothing to a script."""
    for option in (option for option, value in given.items() if value):
        raise ConfigError(f"{option} with a script", f"{option} with a recipe", "pass it to the script, after --")
    if not script.is_file():
        raise ConfigError(f"no script {script}", "a Python file", "check the path")


def _run_script(plan: Callable[[bool, dict[str, str]], Plan], announcement: str, max_restarts: int) -> None:
    from hpcdl.launch.restarts import run_again
    from hpcdl.launch.scripts import run_script
    from hpcdl.launch.supervisor import STOPPED
    from hpcdl.launch.told import VARIABLE, Told

    tell = partial(typer.echo, err=True)
    tell(announcement)
    with TemporaryDirectory(prefix="hpcdl-") as folder:
        told, env = Told(Path(folder)), {VARIABLE: folder} if max_restarts else {}

        def start(again: bool) -> int:
            return run_script(plan(again, env), os.environ, tell, told if max_restarts else None)

        code = run_again(start, told.reached, max_restarts, tell)
    raise typer.Exit(code if code in (0, STOPPED) else 1)


def _run_recipe(
    start: Callable[[bool, Callable[[], None], Tell], dict[str, Any]],
    folder: Path,
    announcement: str,
    max_restarts: int,
    *,
    as_json: bool,
) -> None:
    from rich.console import Console

    from hpcdl.checkpoint import latest_update
    from hpcdl.cli.lossy import lossy
    from hpcdl.cli.progress import Display, Tail
    from hpcdl.launch.restarts import run_again

    sys.stdout, sys.stderr = lossy(sys.stdout), lossy(sys.stderr)
    console = Console(stderr=as_json, soft_wrap=True, markup=False, emoji=False)
    console.print(f"{announcement}\nrecords: {folder}", highlight=False)
    tail = Tail(folder / "events.jsonl")
    with Display(console) as display:

        def watch() -> None:
            for event in tail.read():
                display.show(event)

        def tell(text: str) -> None:
            console.print(text, highlight=False)

        try:
            summary = run_again(
                lambda again: start(again, watch, tell),
                lambda: latest_update(folder / "checkpoints"),
                max_restarts,
                tell,
            )
        finally:
            for event in tail.read(last=True):
                display.show(event)
    if as_json:
        typer.echo(json.dumps({**summary, "folder": str(folder)}))
    else:
        console.print(conclusion(summary, folder), highlight=False)


def _announcement(name: str, engine: str, plan: Plan, topology: Topology) -> str:
    """What will run, what was chosen for it, and how to choose otherwise."""
    from hpcdl.launch.hosts import Here, describe, offered

    tuning = plan.tuning
    several = not isinstance(plan.where, Here) and len(offered(plan.where)) > 1
    each = " a host, if all are like this one" if several else ""
    shared = ", oversubscribed" if tuning.oversubscribed else ""
    idle = "yield" if tuning.env.get("OMPI_MCA_mpi_yield_when_idle") == "1" else "spin"
    return (
        f"{name} on {count(plan.ranks, 'rank')} of {describe(plan.where, topology.host)}, engine {engine}\n"
        f"chosen: {count(tuning.threads, 'compute thread')} a rank on {count(topology.cores, 'core')}{each}{shared}; "
        f"binding {tuning.binding}; idle ranks {idle} (change: --threads, --binding, or set the variable; "
        "--dry-run shows all)"
    )


def conclusion(summary: dict[str, Any], folder: Path) -> str:
    """How a run ended, in one line."""
    test = f", test accuracy {summary['test_accuracy']:.4f}" if "test_accuracy" in summary else ""
    seconds, rate = summary["seconds"], summary["images_per_s"]
    early = f" ({summary['stopped']})" if "stopped" in summary else ""
    cost = ""
    if "restarts" in summary:
        lost, ettr = count(summary["lost_updates"], "update"), summary["ettr"]
        cost = f"; {count(summary['restarts'], 'restart')}, {lost} lost, {ettr:.0%} of the time in useful updates"
    if "lost" in summary:
        cost += f"; not recorded: {' and '.join(f'{many} {kind}' for kind, many in summary['lost'].items())}"
    return f"done in {seconds:.1f} s{early}: {rate:,.0f} images/s{test}{cost}; model.keras and records in {folder}"


def count(many: int, noun: str) -> str:
    """A number and its noun: 1 rank, 2 ranks."""
    return f"{many} {noun}{'' if many == 1 else 's'}"
