"""hpcdl bench scaling: images/s against the number of ranks."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import typer

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

DEFAULT = "cifar10-resnet20"
WARMUP = (
    "Steps before them, which are dropped: a number, or auto, which finds for each start from which step on step times "
    "are stationary (at least 2, at most half) and adds 10 steps for that."
)


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
    warmup: Annotated[str, typer.Option("--warmup", metavar="auto|N", help=WARMUP)] = "auto",
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="real (what is there; the default), synthetic (random pixels in memory: nothing is read, decoded or "
            "augmented) or real,synthetic, side by side.",
        ),
    ] = None,
    engines: Annotated[
        str | None, typer.Option("--engines", help="Several engines, side by side: mpi,horovod; else --engine.")
    ] = None,
    to_accuracy: Annotated[
        float | None,
        typer.Option("--to-accuracy", metavar="TARGET", help="Also train to this test accuracy, and tell how long."),
    ] = None,
    accuracy_repeats: Annotated[
        int | None, typer.Option("--accuracy-repeats", min=1, help="Starts of each that do; default as --repeats.")
    ] = None,
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
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the study in --out: what it has measured is not measured again."),
    ] = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Measure images/s against the number of ranks, and write results.json for `hpcdl report`.

    \b
    Examples:
      hpcdl bench scaling cifar10-resnet20 --ranks 1,2 --repeats 5 --out runs/b
      hpcdl bench scaling my.yaml --mode both --dry-run
      hpcdl bench scaling cifar10-resnet20 --ranks 1,2,4 --input real,synthetic --engines mpi,horovod
      hpcdl bench scaling cifar10-resnet20 --ranks 1,2 --to-accuracy 0.8 --accuracy-repeats 1
      hpcdl bench scaling cifar10-resnet20 --ranks 1,2,4 --hosts node1:2,node2:2
      hpcdl bench scaling cifar10-resnet20 --ranks 1,2 --made-hosts 2 --made-rate 1gbit
      hpcdl bench scaling imagenet-resnet50 --site marenostrum5-acc --account bsc00 --nodes 1,2,4
    """
    from hpcdl.bench.scaling import plans
    from hpcdl.bench.study import MODES, parse_counts, parse_inputs, parse_warmup
    from hpcdl.cli import cluster, made, prepare
    from hpcdl.cli.bench_site import submit_study
    from hpcdl.cli.bench_study import check_target, data_of, engine_names, make_study, measure, tell_results
    from hpcdl.launch import folder as folders
    from hpcdl.launch.tuning import check_slots
    from hpcdl.slurm.sites import load_site
    from hpcdl.submission.study import Points

    if mode not in MODES:
        raise ConfigError(f"--mode {mode}", "one of: " + ", ".join(MODES), "use --mode weak")
    if "=" in config:  # the recipe was left out
        config, overrides = DEFAULT, [config, *(overrides or [])]
    parse_warmup(warmup)
    named = {"--hosts": hosts, "--interface": interface}
    foreign: dict[str, object] = {
        **named,
        "--ranks": ranks,
        "--made-hosts": made_hosts,
        "--made-rate": made_rate,
        "--resume": True if resume else None,
    }
    here_only: dict[str, object] = {
        "--nodes": nodes,
        "--ranks-per-node": ranks_per_node,
        "--time": time,
        "--account": account,
    }
    here_only |= {"--qos": qos, "--partition": partition}
    _refuse_options(foreign if site else here_only, "with" if site else "without")
    if engines is not None and engine != "auto":
        raise ConfigError(f"--engines {engines} with --engine {engine}", "one of them", "leave --engine out")
    wanted, inputs = engines.split(",") if engines else None, parse_inputs(source or "real")
    if site is not None:
        recipe = prepare.recipe(config, overrides or [], 2, engine, here=False)
        names = engine_names(recipe, wanted, 2)
        check_target(recipe, to_accuracy, inputs)
        points = Points(mode, names, repeats, steps, warmup, inputs, to_accuracy, accuracy_repeats or repeats)
        asked = {"time": time, "account": account, "qos": qos, "partition": partition}
        request = cluster.request(recipe, ranks_per_node=ranks_per_node, **asked)
        chosen = load_site(site, cluster.own_sites())
        how = {"overwrite": overwrite, "dry_run": dry_run, "as_json": as_json}
        submit_study(
            recipe, parse_counts(nodes or "1,2", "--nodes"), request, points, chosen, out=out, data=data, **how
        )
        return
    if resume and (out is None or overwrite):
        other = "--overwrite" if overwrite else "no --out"
        raise ConfigError(
            f"--resume with {other}", "the folder of a study to go on with", "give --out DIR alone with it"
        )
    sizes = parse_counts(ranks or "1,2", "--ranks")
    study = make_study(
        prepare.recipe(config, overrides or [], max(sizes), engine),
        sizes,
        mode=mode,
        engines=wanted,
        inputs=inputs,
        repeats=repeats,
        steps=steps,
        warmup=parse_warmup(warmup),
        target=to_accuracy,
        accuracy_repeats=accuracy_repeats or repeats,
    )
    new = {"oversubscribe": oversubscribe, "dry_run": dry_run}
    made_place = made.place(context, made_hosts, made_rate, named, max(sizes), **new)
    where = made_place or prepare.place(hosts, interface, launcher)
    here = prepare.machine(max(sizes), where)
    check_slots(here.topology, max(sizes), oversubscribe=oversubscribe, where=where)
    places = data_of(study, data)
    folder = (out or folders.default_folder(f"scaling-{study.config.name}", datetime.now())).absolute()
    planned = plans(study, folder, places, here)
    if dry_run:
        for plan in planned.values():
            typer.echo(shlex.join(plan.argv))
        return
    command = ["hpcdl", *sys.argv[1:]]
    results = measure(study, folder, places, here, command, quiet=as_json, resume=resume, overwrite=overwrite)
    if as_json:
        typer.echo((folder / "results.json").read_text(encoding="utf-8"), nl=False)
        return
    tell_results(results)
    typer.echo(f"next: hpcdl report {shlex.quote(str(out or folder))}")


def _refuse_options(given: Mapping[str, object], how: str) -> None:
    """Refuses options that mean nothing with, or without, --site."""
    for option in (option for option, value in given.items() if value is not None):
        other = "--nodes and --ranks-per-node" if how == "with" else "--ranks"
        raise ConfigError(f"{option} {how} --site", f"{other} {how} --site", f"leave {option} out")
