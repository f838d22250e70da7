"""hpcdl sites: the machine rooms that hpcdl knows."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hpcdl.cli.options import Json

app = typer.Typer(no_args_is_help=True, help="Machine rooms that jobs can be submitted at.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the sites: those that ship with hpcdl, and yours in ~/.config/hpcdl/sites.

    \b
    Example:
      hpcdl sites list
    """
    from hpcdl.cli.cluster import own_sites
    from hpcdl.slurm.sites import load_site, site_names

    sites = [load_site(name, own_sites()) for name in site_names(own_sites())]
    if as_json:
        typer.echo(json.dumps([site.model_dump(mode="json") for site in sites], ensure_ascii=False))
        return
    for site in sites:
        tried = "never run with hpcdl" if site.about.unverified == "all" else f"read or run {site.about.date}"
        typer.echo(f"{site.name:18} {site.about.title} ({tried})")


@app.command("show")
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `hpcdl sites list`.")]) -> None:
    """Print a site's file, comments included: a start for one of your own.

    \b
    Example:
      hpcdl sites show generic-gpu > ~/.config/hpcdl/sites/mine.yaml
    """
    from hpcdl.cli.cluster import own_sites
    from hpcdl.slurm.sites import site_path

    typer.echo(site_path(name, own_sites()).read_text(encoding="utf-8"), nl=False)
