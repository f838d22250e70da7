"""hpcdl models: the networks that a recipe can name."""

from __future__ import annotations

import json

import typer

from hpcdl.cli.options import Json

app = typer.Typer(no_args_is_help=True, help="The networks that a recipe can name.")


@app.callback()
def _group() -> None:
    """The networks that a recipe can name."""


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the networks.

    \b
    Example:
      hpcdl models list --json
    """
    from hpcdl.models.registry import MODELS

    if as_json:
        typer.echo(
            json.dumps(
                [
                    {"name": name, "summary": entry.summary, "parameters": entry.parameters}
                    for name, entry in MODELS.items()
                ]
            )
        )
        return
    for name, entry in MODELS.items():
        typer.echo(f"{name:20} {entry.parameters:>12,} parameters   {entry.summary}")
