"""hpcdl bench: measure this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpcdl.cli.bench_allreduce import allreduce
from hpcdl.cli.bench_scaling import DEFAULT, scaling
from hpcdl.cli.bench_suite import suite
from hpcdl.cli.options import Data, Json, Overrides

app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@app.callback()
def _group() -> None:
    """Measure this machine."""


app.command("allreduce")(allreduce)
app.command("scaling")(scaling)
app.command("suite")(suite)


@app.command("join")
def join(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder, whose folders hold results.json.")],
) -> None:
    """Make one study of the points that several jobs have measured: DIR/results.json, for `hpcdl report DIR`.

    \b
    Example:
      hpcdl bench join runs/study
    """
    from hpcdl.bench.join import join as join_parts
    from hpcdl.records import write_json

    results = join_parts(folder, ["hpcdl", *sys.argv[1:]])
    write_json(folder / "results.json", results)
    typer.echo(f"{len(results.results)} points in {folder / 'results.json'}")


@app.command("input")
def input_(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A recipe's name or file.")] = DEFAULT,
    overrides: Overrides = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Of each stage in each turn.")] = 3.0,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Turns; the median is told.")] = 3,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Images decoded at once; default cores.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Measure how fast images come, stage by stage, how fast the network takes them, and which of them limits.

    \b
    Examples:
      hpcdl bench input cifar10-resnet20
      hpcdl bench input imagenet-resnet50 --data imagenet data.classes=100 train.global_batch=32
    """
    import json

    from hpcdl.cli import prepare

    if "=" in config:  # the recipe was left out
        config, overrides = DEFAULT, [config, *(overrides or [])]
    recipe = prepare.recipe(config, overrides or [], 1, "single")
    place = prepare.data_path(recipe, data)

    from hpcdl.data.sources import registry as sources
    from hpcdl.launch.topology import read_topology
    from hpcdl.training.input_rates import measure
    from hpcdl.training.session import join

    session = join({}, "single")
    cores = read_topology().cores
    found = measure(recipe, sources.load(recipe.data, place), session, workers or cores, seconds, repeats)
    if as_json:
        typer.echo(json.dumps({"recipe": recipe.name, "data": str(place), **found}))
        return
    for stage, rate in found["stages"].items():
        typer.echo(f"{stage:20} {rate:>12,.1f} images/s, with the stages before it")
    for kind, rate in found["training"].items():
        typer.echo(f"{'train, ' + kind:20} {rate:>12,.1f} images/s")
    typer.echo(f"real / synthetic {found['ratio']:.3f}; what limits training: {found['bottleneck']}")
