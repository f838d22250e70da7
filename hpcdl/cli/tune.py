"""hpcdl tune: the fastest settings of a recipe on this machine."""

from __future__ import annotations

import os
import shlex
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdl.cli.options import Data, Json, Overrides, Oversubscribe
from hpcdl.errors import ConfigError

if TYPE_CHECKING:
    from hpcdl.config.schema import RunConfig
    from hpcdl.launch.plan import Machine

MEASURED_SECONDS, FEWEST_STEPS, MOST_STEPS = 5.0, 8, 5000
"""Of each start."""


def tune(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A recipe's name or file.")],
    overrides: Overrides = None,
    ranks: Annotated[int, typer.Option("-n", min=1, help="Ranks that the recipe will have.")] = 1,
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="How long the search may take.")] = 15.0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The recipe to write; default NAME-tuned.yaml.")
    ] = None,
    data: Data = None,
    oversubscribe: Oversubscribe = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the recipe in --out.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be tried, and start nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Find the engine, threads, binding and buckets with which this machine trains a recipe fastest, and write it.

    What is learned stays the same, up to the order of sums. Each change is started three times, in turn with the
    recipe without it, and kept where it is faster each time and by 2 % in the median. Run it when nothing else runs.

    \b
    Examples:
      hpcdl tune cifar10-resnet20 -n 2
      hpcdl tune my.yaml -n 4 --minutes 30 --out my-node.yaml
    """
    import json
    from dataclasses import asdict

    from rich.console import Console

    from hpcdl.bench.tune import candidates, search
    from hpcdl.cli import prepare
    from hpcdl.config.engines import resolve
    from hpcdl.config.load import dump
    from hpcdl.launch.tuning import check_slots
    from hpcdl.records import write_text

    given = overrides or []
    recipe = prepare.recipe(config, given, ranks)
    written = out or Path(f"{recipe.name}-tuned.yaml")
    if written.exists() and not (overwrite or dry_run):
        raise ConfigError(f"{written}, which is there already", "a new file", "add --overwrite, or choose --out FILE")
    machine = prepare.machine(ranks)
    check_slots(machine.topology, ranks, oversubscribe=oversubscribe)
    place = prepare.data_path(recipe, data)
    cores, engine = machine.topology.cores, resolve(recipe.engine.name, ranks)
    groups = candidates(recipe, ranks, cores, [name for name in ("mpi", "horovod") if _installed(name)], engine)
    if dry_run:
        typer.echo("\n".join(change for changes in groups for change in changes))
        return
    until = monotonic() + 60 * minutes
    console = Console(stderr=as_json, soft_wrap=True, markup=False, emoji=False, highlight=False)
    world = f"{ranks} rank{'' if ranks == 1 else 's'}"
    console.print(
        f"{recipe.name} on {world} of {machine.topology.host}, engine {engine}: {sum(map(len, groups))} changes to try "
        f"in {minutes:g} minutes"
    )

    def rate(changes: list[str], steps: int) -> float:
        return _rate(prepare.recipe(config, [*given, *changes], ranks), ranks, machine, place, steps)

    steps = round(MEASURED_SECONDS * rate([], FEWEST_STEPS) / recipe.train.global_batch)
    steps = max(FEWEST_STEPS, min(MOST_STEPS, steps))
    found = search(
        groups, lambda changes: rate(changes, steps), monotonic, until, lambda each: console.print(str(each))
    )
    tuned = prepare.recipe(config, [*given, *found.changes], ranks)
    title = f"{config} for {world} on {cores} cores of {machine.topology.model}, {datetime.now():%Y-%m-%d}"
    comments = [f"# {line}" for line in (f"{title}; images/s with a change over images/s without:", *found.lines())]
    write_text(written, "\n".join([*comments, dump(tuned)]))
    if as_json:
        typer.echo(json.dumps({"recipe": str(written), "steps": steps, **asdict(found)}, default=dict))
        return
    for change in found.untried:
        typer.echo(f"{change}: not tried, for lack of time")
    typer.echo(f"kept: {' '.join(found.changes) or 'nothing, the recipe is as fast as it gets here'}")
    typer.echo(f"next: hpcdl run {shlex.quote(str(written))} -n {ranks}")


def _rate(recipe: RunConfig, ranks: int, machine: Machine, data: Path, steps: int) -> float:
    """Images/s of one start, after a warm-up that is found from its step times."""
    from hpcdl.bench.repetition import read_repetition
    from hpcdl.bench.study import ALLOWANCE, timed
    from hpcdl.launch.plan import plan_recipe
    from hpcdl.launch.run import run_recipe

    with TemporaryDirectory(prefix="hpcdl-tune-") as scratch:
        short, run = timed(recipe, steps + ALLOWANCE), Path(scratch) / "run"
        run.mkdir()
        run_recipe(plan_recipe(short, ranks, run, data, machine), short, run, machine, os.environ)
        return read_repetition(run, run.parent, 0, None).images_per_s


def _installed(engine: str) -> bool:
    from hpcdl.config.engines import resolve

    try:
        resolve(engine, 2)
    except ConfigError:
        return False
    return True
