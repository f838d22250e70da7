"""The command `hpcdl`. Nothing here imports TensorFlow, so `--help` answers at once."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from hpcdl.cli import (
    bench,
    container,
    data,
    doctor,
    evaluate,
    forecast,
    jobs,
    models,
    predict,
    recipes,
    report,
    run,
    sites,
    submit,
    train,
    tune,
)
from hpcdl.errors import ConfigError, HpcdlError, Interrupted

# The command line's own errors; typer exports this subclass of the one that it raises.
USAGE: Any = typer.BadParameter.__mro__[1]

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
app.command("tune")(tune.tune)
app.command("report")(report.report)
app.command("forecast")(forecast.forecast)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("submit")(submit.submit)
app.add_typer(jobs.app, name="jobs")
app.add_typer(sites.app, name="sites")
app.command("doctor")(doctor.doctor)
app.add_typer(recipes.app, name="recipes")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(container.app, name="container")


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
    """Runs the command line; what a person can mend is told in three lines and without a traceback."""
    try:
        code = app(standalone_mode=False)
    except HpcdlError as error:
        _fail(error)
    except USAGE as error:
        usage = error.ctx.get_usage().removeprefix("Usage: ") if error.ctx else "hpcdl COMMAND"
        command = error.ctx.command_path if error.ctx else "hpcdl"
        _fail(ConfigError(error.format_message().rstrip("."), " ".join(usage.split()), f"see `{command} --help`"))
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(
            HpcdlError(
                f"{error.filename or 'a file'}: {error.strerror}",
                "files and folders that can be read and written, and room for them",
                "check path, permissions and free space",
            )
        )
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    else:
        sys.exit(code or 0)


def _fail(error: HpcdlError) -> NoReturn:
    if os.environ.get("HPCDL_DEBUG"):
        raise error
    print(f"hpcdl: {'stopped' if isinstance(error, Interrupted) else 'error'}\n{error}", file=sys.stderr)
    sys.exit(error.exit_code)
