"""hpcdl report: pictures, tables and a page from a benchmark's records."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from hpcdl.cli.options import Json
from hpcdl.errors import ConfigError


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders that hold results.json.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the report; default the first DIR.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Two DIRs: what got faster or slower from the first to the second.")
    ] = False,
    fail_on_regression: Annotated[
        str | None,
        typer.Option("--fail-on-regression", metavar="5%", help="With --compare: exit 1 where a rate fell by more."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn benchmarks' records into report.html, figures (PNG, SVG) and tables (CSV, Markdown, LaTeX, MLPerf's log).

    \b
    Examples:
      hpcdl report runs/b
      hpcdl report runs/b runs/s --out runs/both
      hpcdl report --compare runs/old runs/new --fail-on-regression 5%
    """
    if compare:
        limit = None if fail_on_regression is None else _share(fail_on_regression)
        if _compare(folders, out, limit, as_json=as_json):
            raise typer.Exit(1)
        return
    if fail_on_regression is not None:
        raise ConfigError("--fail-on-regression without --compare", "two folders to compare", "add --compare A B")

    from hpcdl.report.write import write_report

    written = write_report(folders, out or folders[0])
    if as_json:
        typer.echo(json.dumps([str(path) for path in written]))
        return
    for path in written:
        typer.echo(path)


def _compare(folders: list[Path], out: Path | None, limit: float | None, *, as_json: bool) -> bool:
    """Compares two folders, and says whether a rate fell by more than the limit."""
    if len(folders) != 2:
        raise ConfigError(f"--compare with {len(folders)} folders", "two", "hpcdl report --compare BEFORE AFTER")

    from hpcdl.report import compare_text
    from hpcdl.report.compare import answer, compare
    from hpcdl.report.read import read_scaling
    from hpcdl.report.write import write_files

    names = (str(folders[0]), str(folders[1]))
    found = compare(read_scaling(folders[0]), read_scaling(folders[1]), names)
    if out is not None:
        write_files({"compare.md": compare_text.markdown(found, names, limit).encode()}, out)
    if as_json:
        typer.echo(json.dumps(answer(found, limit)))
    else:
        for line in compare_text.lines(found, names, limit):
            typer.echo(line)
    return limit is not None and bool(found.regressions(limit))


def _share(text: str) -> float:
    """A share of one, from "5%" or "5 %"."""
    number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if not number or float(number[1]) >= 100.0:
        raise ConfigError(
            f"--fail-on-regression {text}", "a percentage from 0% to below 100%", "--fail-on-regression 5%"
        )
    return float(number[1]) / 100.0
