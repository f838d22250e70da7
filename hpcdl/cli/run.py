"""hpcdl run: start the ranks of a recipe or of a user's own script."""

from __future__ import annotations

import json
import os
import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpcdl.cli.options import Binding, Data, DryRun, Engine, Json, Out, Oversubscribe, Overwrite, Threads
from hpcdl.errors import ConfigError

if TYPE_CHECKING:
    from hpcdl.launch.plan import Plan
    from hpcdl.launch.topology import Topology


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
            metavar="[KEY=VALUE]... [-- ARGUMENTS]", help="Changes to the recipe; for a script, its arguments after --."
        ),
    ] = None,
    ranks: Annotated[int, typer.Option("-n", "--ranks", help="Ranks to start (the world size).")] = 1,
    engine: Engine = "auto",
    threads: Threads = None,
    binding: Binding = None,
    out: Out = None,
    data: Data = None,
    oversubscribe: Oversubscribe = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Start the ranks of a recipe, or of a script, on this machine.

    \b
    Examples:
      hpcdl run cifar10-cnn -n 2 train.epochs=1 --out runs/a
      hpcdl run my.yaml -n 4 --engine mpi --dry-run
      hpcdl run script.py -n 2 -- --my-option 3
    """
    if target.endswith(".py"):
        given = {"--out": out, "--data": data, "--overwrite": overwrite, "--json": as_json}
        for option in (option for option, value in given.items() if value):
            raise ConfigError(f"{option} with a script", f"{option} with a recipe", "pass it to the script, after --")
        raise typer.Exit(
            _script(
                Path(target), rest or [], ranks, engine, threads, binding, oversubscribe=oversubscribe, dry_run=dry_run
            )
        )
    settings = [f"launch.{name}={value}" for name, value in (("threads", threads), ("binding", binding)) if value]
    _recipe(
        target,
        [*(rest or []), *settings],
        ranks,
        engine,
        out,
        data,
        oversubscribe=oversubscribe,
        overwrite=overwrite,
        dry_run=dry_run,
        as_json=as_json,
    )


def _script(
    script: Path,
    arguments: list[str],
    ranks: int,
    engine: str,
    threads: int | None,
    binding: str | None,
    *,
    oversubscribe: bool,
    dry_run: bool,
) -> int:
    from hpcdl.cli.prepare import machine
    from hpcdl.config.engines import resolve
    from hpcdl.config.load import launch_config
    from hpcdl.launch import supervisor
    from hpcdl.launch.plan import plan_script

    if not script.is_file():
        raise ConfigError(f"no script {script}", "a Python file", "check the path")
    launch = launch_config(threads, binding)
    here = machine(ranks)
    plan = plan_script(script, arguments, ranks, engine, launch, here, oversubscribe=oversubscribe)
    resolve(engine, ranks)
    if dry_run:
        typer.echo(shlex.join(plan.argv))
        return 0
    typer.echo(_announcement(script.name, resolve(engine, ranks), plan, here.topology), err=True)
    code = supervisor.run(plan.argv, supervisor.inherited(os.environ))
    return code if code in (0, supervisor.STOPPED) else 1


def _recipe(
    target: str,
    overrides: list[str],
    ranks: int,
    engine: str,
    out: Path | None,
    data: str | None,
    *,
    oversubscribe: bool,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from rich.console import Console

    from hpcdl.cli import prepare
    from hpcdl.cli.progress import Display, Tail
    from hpcdl.config.engines import resolve
    from hpcdl.launch import folder as folders
    from hpcdl.launch.plan import plan_recipe
    from hpcdl.launch.run import run_recipe
    from hpcdl.launch.tuning import check_slots

    config = prepare.recipe(target, overrides, ranks, engine)
    here = prepare.machine(ranks)
    check_slots(here.topology, ranks, oversubscribe=oversubscribe)
    folder = (out or folders.default_folder(config.name, datetime.now())).absolute()
    plan = plan_recipe(config, ranks, folder, prepare.data_path(config, data), here, oversubscribe=oversubscribe)
    if dry_run:
        typer.echo(shlex.join(plan.argv))
        return
    folders.prepare(folder, overwrite=overwrite)
    console = Console(stderr=as_json, soft_wrap=True, markup=False, emoji=False)
    engine_name = resolve(config.engine.name, ranks)
    console.print(_announcement(config.name, engine_name, plan, here.topology), highlight=False)
    console.print(f"records: {folder}", highlight=False)
    tail = Tail(folder / "events.jsonl")
    with Display(console) as display:

        def watch() -> None:
            for event in tail.read():
                display.show(event)

        summary = run_recipe(plan, config, folder, here, os.environ, watch)
    if as_json:
        typer.echo(json.dumps({**summary, "folder": str(folder)}))
    else:
        console.print(_conclusion(summary, folder), highlight=False)


def _announcement(name: str, engine: str, plan: Plan, topology: Topology) -> str:
    """What will run, what was chosen for it, and how to choose otherwise."""
    tuning = plan.tuning
    shared = ", oversubscribed" if tuning.oversubscribed else ""
    idle = "yield" if tuning.env.get("OMPI_MCA_mpi_yield_when_idle") == "1" else "spin"
    return (
        f"{name} on {count(plan.ranks, 'rank')} of {topology.host}, engine {engine}\n"
        f"chosen: {count(tuning.threads, 'compute thread')} a rank on {count(topology.cores, 'core')}{shared}; "
        f"binding {tuning.binding}; idle ranks {idle} (change: --threads, --binding, or set the variable; "
        "--dry-run shows all)"
    )


def _conclusion(summary: dict[str, Any], folder: Path) -> str:
    test = f", test accuracy {summary['test_accuracy']:.4f}" if "test_accuracy" in summary else ""
    seconds, rate = summary["seconds"], summary["images_per_s"]
    return f"done in {seconds:.1f} s: {rate:,.0f} images/s{test}; model.keras and records in {folder}"


def count(many: int, noun: str) -> str:
    """ "1 rank", "2 ranks"."""
    return f"{many} {noun}{'' if many == 1 else 's'}"
