"""hpcdl models: the networks that a recipe can name."""

from __future__ import annotations

import json
import os
import re
from typing import Annotated

import typer

from hpcdl.cli.options import Json
from hpcdl.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="The networks that a recipe can name.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the networks: hpcdl's own, those of keras.applications, those of installed packages.

    \b
    Example:
      hpcdl models list --json
    """
    from hpcdl.models.registry import catalog, is_clash

    networks = catalog()
    refused = [is_clash(name, networks) for name, _ in networks]
    if as_json:
        rows = [
            {
                "name": name,
                "summary": entry.summary,
                "parameters": entry.parameters,
                "shape": entry.shape,
                "classes": entry.classes,
                "expects": entry.expects,
                "minimum": entry.minimum,
                "source": entry.source,
                "refused": clash,
            }
            for (name, entry), clash in zip(networks, refused, strict=True)
        ]
        typer.echo(json.dumps(rows))
        return
    width = max(len(name) for name, _ in networks)
    for (name, entry), clash in zip(networks, refused, strict=True):
        size = "" if entry.parameters is None else f"{entry.parameters:,} parameters"
        made_for = "" if entry.parameters is None else f"{_by(entry.shape)}, {entry.classes} classes"
        note = "; refused: two networks have this name" if clash else ""
        typer.echo(f"{name:{width}} {size:>22}  {made_for:27} {entry.summary}{note}")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `hpcdl models list`.")],
    shape: Annotated[
        str | None, typer.Option("--shape", help="Height, width and channels of the images, as 32,32,3.")
    ] = None,
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="Classes that it tells apart.")] = None,
    as_json: Json = False,
) -> None:
    """Show a network layer by layer; without options for the images and classes that it was made for.

    \b
    Example:
      hpcdl models show ResNet50 --shape 32,32,3 --classes 10
    """
    from hpcdl.models.registry import check

    entry = check(name)
    pixels, count = _shape(shape) if shape else entry.shape, classes or entry.classes
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    from dataclasses import asdict

    from hpcdl.models.describe import describe

    described = describe(name, pixels, count)
    if as_json:
        about = {"name": name, "summary": entry.summary, "source": entry.source, "expects": entry.expects}
        typer.echo(json.dumps(about | {"shape": pixels, "classes": count} | asdict(described)))
        return
    rows = [
        (layer.name, layer.kind, layer.output, f"{layer.parameters:,}" if layer.parameters else "")
        for layer in described.layers
    ]
    head = ("layer", "kind", "output", "parameters")
    first, second, third, last = (max(len(row[place]) for row in (head, *rows)) for place in range(4))
    typer.echo(f"{name} for {_by(pixels)} pixels and {count} classes")
    for row in (head, *rows):
        typer.echo(f"{row[0]:{first}}  {row[1]:{second}}  {row[2]:{third}}  {row[3]:>{last}}".rstrip())
    typer.echo(f"parameters: {described.parameters:,}, trainable {described.trainable:,}")
    typer.echo(f"source: {entry.source}")
    typer.echo(f"expects: {f'data.normalize={entry.expects}' if entry.expects else 'not told'}")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)


def _shape(text: str) -> tuple[int, int, int]:
    """Height, width and channels of --shape."""
    match = re.fullmatch(r"\s*([1-9]\d{0,4})\s*,\s*([1-9]\d{0,4})\s*,\s*([1-9]\d{0,2})\s*", text)
    if not match:
        raise ConfigError(
            f"--shape {text}", "height, width and channels, as 32,32,3", "separate three numbers by commas"
        )
    height, width, channels = (int(each) for each in match.groups())
    return height, width, channels
