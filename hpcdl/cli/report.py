"""hpcdl report: pictures, tables and a page from a benchmark's records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hpcdl.cli.options import Json


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders that hold results.json.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the report; default the first DIR.")] = None,
    as_json: Json = False,
) -> None:
    """Turn a benchmark's records into report.html, PNG figures, results.csv and report.md.

    \b
    Example:
      hpcdl report runs/b
    """
    from hpcdl.report.write import write_report

    written = write_report(folders, out or folders[0])
    if as_json:
        typer.echo(json.dumps([str(path) for path in written]))
        return
    for path in written:
        typer.echo(path)
