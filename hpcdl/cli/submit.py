"""hpcdl submit: a recipe as a Slurm job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdl.cli.cluster import Account, Partition, Qos, RanksPerNode, SiteName, Time
from hpcdl.cli.options import Data, Engine, Json, Out, Overrides, Overwrite
from hpcdl.errors import ConfigError, LaunchError

if TYPE_CHECKING:
    from hpcdl.config.schema import RunConfig


def submit(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A recipe's name or file.")],
    overrides: Overrides = None,
    site: SiteName = "local",
    nodes: Annotated[int, typer.Option("--nodes", help="Number of nodes.")] = 1,
    ranks_per_node: RanksPerNode = None,
    time: Time = None,
    account: Account = None,
    qos: Qos = None,
    partition: Partition = None,
    container: Annotated[str | None, typer.Option("--container", help="Image (.sif) that the ranks run in.")] = None,
    requeue: Annotated[
        bool, typer.Option("--requeue", help="Go back to the queue shortly before the time is over.")
    ] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option("--sweep", help="KEY=[V1,V2,…]: an array of runs, one for each value; several: each pair."),
    ] = None,
    at_once: Annotated[
        int | None, typer.Option("--at-once", min=1, help="Tasks of the sweep that run at the same time.")
    ] = None,
    engine: Engine = "auto",
    out: Out = None,
    data: Data = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the script; make no folder, ask no Slurm, submit nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job's end, and answer as it did.")] = False,
    as_json: Json = False,
) -> None:
    """Write a Slurm job for a recipe, have Slurm check it, and submit it.

    \b
    Examples:
      hpcdl submit cifar10-resnet20 --site marenostrum5-acc --account bsc00 --nodes 2 --time 02:00:00 --dry-run
      hpcdl submit my.yaml --site generic-cpu --nodes 4 --container hpcdl-cpu.sif
      hpcdl submit my.yaml --site local --sweep 'optimizer.learning_rate=[0.1,0.2,0.4]' --at-once 2
    """
    from hpcdl.cli import cluster, jobs, prepare
    from hpcdl.config.checks import check_ranks
    from hpcdl.config.load import dump
    from hpcdl.launch import folder as folders
    from hpcdl.slurm.job import plan_job
    from hpcdl.slurm.sites import load_site
    from hpcdl.submission import compose, send

    chosen = load_site(site, cluster.own_sites())
    recipes = _recipes(config, overrides or [], sweep or [], engine)
    first = recipes[0]
    request = cluster.request(
        first,
        nodes=nodes,
        ranks_per_node=ranks_per_node,
        time=time,
        account=account,
        qos=qos,
        partition=partition,
        container=container,
    )
    job = plan_job(first.name, request, chosen)
    for each in recipes:
        check_ranks(each, job.ranks)
    software = cluster.software(container)
    folder = (out or folders.default_folder(first.name, datetime.now())).absolute()
    where = compose.Where(folder, prepare.data_path(first, data), prepare.own_variables())
    tasks = f"0-{len(recipes) - 1}{f'%{at_once}' if at_once else ''}" if sweep else ""
    script = compose.train_script(first, job, chosen, where, software, compose.Restart(requeue), tasks)
    if dry_run:
        typer.echo(script, nl=False)
        return
    cluster.need_slurm()
    folders.prepare(folder, overwrite=overwrite)
    places = [f"{task}/" for task in range(len(recipes))] if sweep else [""]
    package = send.Package(
        script=script,
        files={f"{place}config.yaml": dump(each) for place, each in zip(places, recipes, strict=True)},
        job=job,
        log=compose.TASK_LOG if sweep else compose.LOG,
        tasks=len(recipes) if sweep else 0,
    )
    written = send.write(package, folder, {**cluster.origin(request), "site": chosen.model_dump(mode="json")})
    try:
        submitted = send.send(cluster.ask, package, written, chosen, cluster.registry())
    except LaunchError:
        folders.discard(folder)  # --dry-run shows the script; a folder that looks like a run would only mislead
        raise
    if as_json and not wait:
        typer.echo(json.dumps({"job": submitted.job, "folder": str(folder)}))
    elif not as_json:
        typer.echo(f"job {submitted.job}: {first.name} on {job.nodes} x {job.ranks_per_node} ranks at {chosen.name}")
        typer.echo(f"records: {folder}\nnext: hpcdl jobs logs -f {submitted.job}")
    if wait:
        jobs.wait(submitted.job, as_json=as_json)


def _recipes(config: str, overrides: Sequence[str], sweep: Sequence[str], engine: str) -> list[RunConfig]:
    """The recipe, or one for each combination of a sweep's values."""
    from hpcdl.cli import prepare

    found = []
    for values in product(*[_values(axis) for axis in sweep]):
        found.append(prepare.recipe(config, [*overrides, *values], 2, engine, here=False))
    return found


def _values(axis: str) -> list[str]:
    """key=[1,2] as key=1 and key=2, each in YAML again."""
    import yaml

    key, equals, text = axis.partition("=")
    try:
        values = yaml.safe_load(text) if equals else None
    except yaml.YAMLError:
        values = None
    if not key or not isinstance(values, list) or not values:
        raise ConfigError(
            f"--sweep {axis!r}", "KEY=[V1,V2,…], a list in YAML", "for example --sweep 'train.seed=[0,1,2]'"
        )
    return [f"{key}={json.dumps(value)}" for value in values]
