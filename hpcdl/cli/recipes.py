"""hpcdl recipes: what ships with hpcdl, ready to run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hpcdl.cli.options import Json
from hpcdl.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Recipes that ship with hpcdl.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `hpcdl recipes list`.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the recipes.

    \b
    Example:
      hpcdl recipes list
    """
    from hpcdl.config.load import load, recipe_names

    recipes = [load(name) for name in recipe_names()]
    if as_json:
        typer.echo(
            json.dumps([{"name": recipe.name, **recipe.about.model_dump()} for recipe in recipes], ensure_ascii=False)
        )
        return
    for recipe in recipes:
        typer.echo(f"{recipe.name:28} {recipe.about.summary}")


@app.command("show")
def show(name: Name) -> None:
    """Print a recipe, comments included.

    \b
    Example:
      hpcdl recipes show cifar10-cnn
    """
    from hpcdl.config.load import recipe_text

    typer.echo(recipe_text(name), nl=False)


@app.command("keys")
def show_keys() -> None:
    """List every key that a recipe may have, its default and its meaning.

    \b
    Example:
      hpcdl recipes keys | grep schedule
    """
    from hpcdl.config.keys import keys

    for key, default, meaning in keys():
        typer.echo(f"{key}={default}  {meaning}" if default else f"{key} (required)  {meaning}")


@app.command("copy")
def copy(
    name: Name, to: Annotated[Path | None, typer.Argument(metavar="FILE", help="Default: NAME.yaml here.")] = None
) -> None:
    """Copy a recipe to a file of your own, to change it.

    \b
    Example:
      hpcdl recipes copy cifar10-cnn my.yaml && hpcdl run my.yaml -n 2
    """
    from hpcdl.config.load import recipe_text
    from hpcdl.records import write_text

    text = recipe_text(name)
    path = to or Path(f"{name}.yaml")
    if path.exists():
        raise ConfigError(f"{path} exists", "a file that is not there yet", "choose another name, or delete it first")
    try:
        write_text(path, text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "a file that can be written", "choose another place") from None
    typer.echo(f"{path} written; run it with `hpcdl run {path} -n 2`")
