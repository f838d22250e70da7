"""The command `hpcdl`. Nothing here imports TensorFlow, so `--help` answers at once."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from hpcdl.cli import bench, data, models, recipes, report, run, train
from hpcdl.errors import HpcdlError

app = typer.Typer(
    name="hpcdl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train Keras models on many ranks, and measure how that scales.",
    epilog="""\b
First steps:
  hpcdl recipes list
  hpcdl run cifar10-cnn -n 2 train.epochs=1 --out runs/a
  hpcdl bench scaling cifar10-resnet20 --ranks 1,2 --out runs/b && hpcdl report runs/b""",
)
app.command("run")(run.run)
app.command("train")(train.train)
app.add_typer(bench.app, name="bench")
app.command("report")(report.report)
app.add_typer(recipes.app, name="recipes")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"hpcdl {version('hpcdl')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every command."""
    if debug:
        os.environ["HPCDL_DEBUG"] = "1"


def main() -> None:
    """Runs the command line; an error that a person can mend is told without a traceback."""
    try:
        app()
    except HpcdlError as error:
        if os.environ.get("HPCDL_DEBUG"):
            raise
        print(f"hpcdl: error\n{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
