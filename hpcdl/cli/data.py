"""hpcdl data: what is there, and how to get, pack, check and see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hpcdl.cli.data_fetch import fetch
from hpcdl.cli.data_prepare import prepare, verify
from hpcdl.cli.data_show import show
from hpcdl.cli.options import Json
from hpcdl.errors import ConfigError, DataError

app = typer.Typer(no_args_is_help=True, help="Data sets: what is there, and how to get, pack, check and see it.")
app.command("fetch")(fetch)
app.command("prepare")(prepare)
app.command("verify")(verify)
app.command("show")(show)


@app.command("list")
def list_(
    data: Annotated[str | None, typer.Option("--data", help="Look here instead of HPCDL_DATA and ./data.")] = None,
    as_json: Json = False,
) -> None:
    """List the data sets that recipes can name, and where they were found.

    \b
    Example:
      hpcdl data list --data /scratch/sets
    """
    from hpcdl.cli.prepare import search_places
    from hpcdl.data.sources.registry import SOURCES, locate

    rows = []
    for name, source in SOURCES.items():
        try:
            found: str | None = str(locate(name, [], [("--data", data)] if data else search_places()))
        except DataError:
            found = None
        rows.append({"name": name, "summary": source.summary, "layout": source.layout, "found": found})
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(
            f"{row['name']:14} {row['summary']}\n{'':14} {row['found'] or 'not found; expected ' + str(row['layout'])}"
        )


@app.command("synth")
def synth(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A name from `hpcdl data list`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder that gets the files.")] = Path("data"),
    train: Annotated[int | None, typer.Option("--train", help="Training images; as a small real set has.")] = None,
    test: Annotated[int | None, typer.Option("--test", help="Test images.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of patterns and noise.")] = 0,
) -> None:
    """Write a learnable stand-in in a data set's own file layout; equal arguments give equal bytes.

    \b
    Example:
      hpcdl data synth cifar10 --out data
    """
    from hpcdl.data.sources.registry import SOURCES

    if source not in SOURCES:
        raise ConfigError(
            f"data set {source!r}", "one of: " + ", ".join(SOURCES), "`hpcdl data list` shows what there is"
        )
    usual = SOURCES[source].counts
    train, test = (usual[0] if train is None else train), (usual[1] if test is None else test)
    folder = SOURCES[source].synthesize(out, train, test, seed)
    typer.echo(f"{folder}: synthetic stand-in for {source}, {train} training and {test} test images; no photographs")
