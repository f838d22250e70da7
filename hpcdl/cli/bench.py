"""hpcdl bench: measure this machine."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from hpcdl.cli.bench_allreduce import allreduce
from hpcdl.cli.cluster import Account, Partition, Qos, RanksPerNode, Time
from hpcdl.cli.made import MadeHosts, MadeRate
from hpcdl.cli.options import (
    Data,
    DryRun,
    Engine,
    Hosts,
    Interface,
    Json,
    Launcher,
    Out,
    Overrides,
    Oversubscribe,
    Overwrite,
)
from hpcdl.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


DEFAULT = "cifar10-resnet20"


@app.callback()
def _group() -> None:
    """Measure this machine."""


app.command("allreduce")(allreduce)


@app.command("scaling")
def scaling(
    context: typer.Context,
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A recipe's name or file.")] = DEFAULT,
    overrides: Overrides = None,
    ranks: Annotated[str | None, typer.Option("--ranks", help="World sizes, with commas between; default 1,2.")] = None,
    mode: Annotated[
        str, typer.Option("--mode", help="weak (the batch a rank stays), strong (the global batch stays) or both.")
    ] = "weak",
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Starts of each point; their median is reported.")
    ] = 5,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Measured steps of each start.")] = 20,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Steps before them, which are dropped.")] = 5,
    hosts: Hosts = None,
    interface: Interface = None,
    launcher: Launcher = "mpirun",
    made_hosts: MadeHosts = None,
    made_rate: MadeRate = None,
    site: Annotated[
        str | None, typer.Option("--site", help="Submit the study there, a job a node count and one for the report.")
    ] = None,
    nodes: Annotated[str | None, typer.Option("--nodes", help="With --site: node counts, with commas between.")] = None,
    ranks_per_node: RanksPerNode = None,
    time: Time = None,
    account: Account = None,
    qos: Qos = None,
    partition: Partition = None,
    engine: Engine = "auto",
    out: Out = None,
    data: Data = None,
    oversubscribe: Oversubscribe = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Measure images/s against the number of ranks, and write results.json for `hpcdl report`.

    \b
    Examples:
      hpcdl bench scaling cifar10-resnet20 --ranks 1,2 --repeats 5 --out runs/b
      hpcdl bench scaling my.yaml --mode both --dry-run
      hpcdl bench scaling cifar10-resnet20 --ranks 1,2,4 --hosts node1:2,node2:2
      hpcdl bench scaling cifar10-resnet20 --ranks 1,2 --made-hosts 2 --made-rate 1gbit
      hpcdl bench scaling imagenet-resnet50 --site marenostrum5-acc --account bsc00 --nodes 1,2,4
    """
    from rich.console import Console

    from hpcdl.bench.scaling import plans, run_study
    from hpcdl.bench.study import MODES, Study, parse_counts
    from hpcdl.cli import cluster, made, prepare
    from hpcdl.cli.bench_site import submit_study
    from hpcdl.config.engines import resolve
    from hpcdl.launch import folder as folders
    from hpcdl.launch.tuning import check_slots
    from hpcdl.records import Repetition
    from hpcdl.slurm.sites import load_site
    from hpcdl.submission.study import Points

    if mode not in MODES:
        raise ConfigError(f"--mode {mode}", "one of: " + ", ".join(MODES), "use --mode weak")
    if "=" in config:  # the recipe was left out
        config, overrides = DEFAULT, [config, *(overrides or [])]
    named = {"--hosts": hosts, "--interface": interface}
    foreign = {**named, "--ranks": ranks, "--made-hosts": made_hosts, "--made-rate": made_rate}
    here_only = {"--nodes": nodes, "--ranks-per-node": ranks_per_node, "--time": time, "--account": account}
    here_only |= {"--qos": qos, "--partition": partition}
    _refuse_options(foreign if site else here_only, "with" if site else "without")
    if site is not None:
        recipe = prepare.recipe(config, overrides or [], 2, engine, here=False)
        points = Points(mode, resolve(recipe.engine.name, 2), repeats, steps, warmup)
        asked = {"time": time, "account": account, "qos": qos, "partition": partition}
        request = cluster.request(recipe, ranks_per_node=ranks_per_node, **asked)
        chosen = load_site(site, cluster.own_sites())
        how = {"overwrite": overwrite, "dry_run": dry_run, "as_json": as_json}
        submit_study(
            recipe, parse_counts(nodes or "1,2", "--nodes"), request, points, chosen, out=out, data=data, **how
        )
        return
    sizes = parse_counts(ranks or "1,2", "--ranks")
    recipe = prepare.recipe(config, overrides or [], max(sizes), engine)
    study = Study(
        config=recipe,
        engine=resolve(recipe.engine.name, max(sizes)),
        ranks=sizes,
        modes=("weak", "strong") if mode == "both" else (mode,),
        repeats=repeats,
        steps=steps,
        warmup=warmup,
    )
    new = {"oversubscribe": oversubscribe, "dry_run": dry_run}
    made_place = made.place(context, made_hosts, made_rate, named, max(sizes), **new)
    where = made_place or prepare.place(hosts, interface, launcher)
    here = prepare.machine(max(sizes), where)
    check_slots(here.topology, max(sizes), oversubscribe=oversubscribe, where=where)
    place = prepare.data_path(recipe, data)
    folder = (out or folders.default_folder(f"scaling-{recipe.name}", datetime.now())).absolute()
    planned = plans(study, folder, place, here)
    if dry_run:
        for plan in planned.values():
            typer.echo(shlex.join(plan.argv))
        return
    prepare.check(here, prepare.needed(recipe, place))
    folders.prepare(folder, overwrite=overwrite)
    console = Console(stderr=as_json, soft_wrap=True, markup=False, emoji=False)
    starts, total = 0, repeats * len(planned)
    console.print(
        f"{recipe.name}, engine {study.engine}, {mode}: {', '.join(str(size) for size in sizes)} ranks; "
        f"{total} starts of {warmup} + {steps} steps\nrecords: {folder}",
        highlight=False,
    )

    def done(kind: str, size: int, repetition: Repetition) -> None:
        nonlocal starts
        starts += 1
        console.print(
            f"{starts:>3}/{total}  {kind:6} {size:>3} ranks  {repetition.images_per_s:>9,.1f} images/s", highlight=False
        )

    command = ["hpcdl", *sys.argv[1:]]
    results = run_study(study, folder, place, here, os.environ, command, done, overwrite=overwrite)
    if as_json:
        typer.echo((folder / "results.json").read_text(encoding="utf-8"), nl=False)
        return
    for point in results.results:
        rate = point.images_per_s
        told = f"{rate.median:>9,.1f} images/s [{rate.low:,.1f}, {rate.high:,.1f}]  speedup {point.speedup:.2f}"
        share = f"efficiency {point.efficiency:.0%}  communication {point.communication_share:.1%}"
        console.print(f"{point.mode:6} {point.ranks:>3} ranks  {told}  {share}", highlight=False)
    console.print(f"next: hpcdl report {shlex.quote(str(out or folder))}", highlight=False)


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


def _refuse_options(given: Mapping[str, object], how: str) -> None:
    """Refuses options that mean nothing with, or without, --site."""
    for option in (option for option, value in given.items() if value is not None):
        other = "--nodes and --ranks-per-node" if how == "with" else "--ranks"
        raise ConfigError(f"{option} {how} --site", f"{other} {how} --site", f"leave {option} out")


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
