"""hpcdl data fetch: a public data set, from the addresses that publish it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdl.cli.options import Json
from hpcdl.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from hpcdl.data.fetch.archives import Archive
    from hpcdl.data.fetch.fetch import Fetched


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist, fashion-mnist, cifar10, cifar100 or imagenet.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of all data sets.")] = Path("data"),
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL_OR_FOLDER",
            help="A copy's address, or a folder of downloaded files, instead of the publisher.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Download a public data set and check it; what is there and right stays, what was cut short goes on.

    \b
    Examples:
      hpcdl data fetch mnist
      hpcdl data fetch cifar10 --out /scratch/sets --from ~/downloads
    """
    from rich.console import Console

    from hpcdl.data.fetch.archives import archives
    from hpcdl.data.fetch.fetch import fetch as fetch_files

    listed = archives()
    if name not in listed:
        raise ConfigError(
            f"data set {name!r}", "one of: " + ", ".join(listed), "other sets: `hpcdl data list` shows their layout"
        )
    archive = listed[name]
    console = Console(stderr=as_json, soft_wrap=True, markup=False, emoji=False, highlight=False)
    with _bar(console) as bar:
        tasks = {file.name: bar.add_task(file.name, total=file.size, visible=False) for file in archive.files}

        def show(file: str, done: int, total: int) -> None:
            bar.update(tasks[file], completed=done, total=total, visible=True)

        fetched = fetch_files(archive, out, origin, show=show, tell=console.print)
    if as_json:
        typer.echo(json.dumps(_row(archive, fetched)))
        return
    for one in fetched:
        came = "is there and right" if one.origin is None else f"checked, from {one.origin}"
        console.print(f"{one.path}  {one.file.size:,} bytes  {came}")
    console.print(f"terms: {archive.terms}\ncite:  {archive.citation}")
    _tell_rival(console, archive, out, fetched)
    console.print(f"next:  hpcdl data show {name} --data {shlex.quote(str(out))}")


def _bar(console: Console) -> Progress:
    """Bytes, rate and time left of each file, on a terminal only."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _row(archive: Archive, fetched: list[Fetched]) -> dict[str, object]:
    files = [
        {
            "path": str(one.path),
            "bytes": one.file.size,
            "md5": one.file.md5,
            "sha256": one.file.sha256,
            "from": one.origin,
        }
        for one in fetched
    ]
    return {"name": archive.name, "files": files, "terms": archive.terms, "citation": archive.citation}


def _tell_rival(console: Console, archive: Archive, out: Path, fetched: list[Fetched]) -> None:
    """Says so where hpcdl would read something else in that folder, as a stand-in that lies there too."""
    from hpcdl.data.sources.registry import SOURCES

    found = SOURCES[archive.name].find(out) if archive.name in SOURCES else None
    if found is not None and not any(one.path.resolve().is_relative_to(found.resolve()) for one in fetched):
        console.print(f"note:  hpcdl reads {found}, which is there too; move it away to read these files")
