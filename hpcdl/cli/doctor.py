"""hpcdl doctor: what works on this machine, what does not, and the mend."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdl.cli.options import Engine, Json, Oversubscribe
from hpcdl.errors import ConfigError

if TYPE_CHECKING:
    from hpcdl.doctor.findings import Section, State


def doctor(
    ranks: Annotated[
        int | None, typer.Option("--ranks", "-n", help="Really start so many ranks, and let them sum once.")
    ] = None,
    engine: Engine = "auto",
    oversubscribe: Oversubscribe = False,
    site: Annotated[
        str | None, typer.Option("--site", metavar="NAME|FILE", help="Check a site's description against this machine.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the records that will be written.")] = Path("runs"),
    data: Annotated[str | None, typer.Option("--data", help="Look here instead of HPCDL_DATA and ./data.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what works on this machine, what does not, and the mend.

    Each line is ok, a warning (works, and may disappoint) or a failure. The exit code is 1 where one fails.
    Without --engine, --ranks tries each engine that is installed. With --site only that site is looked at.

    \b
    Examples:
      hpcdl doctor
      hpcdl doctor --ranks 2
      hpcdl doctor --site my-site.yaml
      hpcdl doctor --json --out /scratch/me/runs
    """
    from hpcdl.doctor.findings import as_json as document
    from hpcdl.doctor.findings import worst

    sections = _sections(ranks, engine, oversubscribe, site, out, data)
    if as_json:
        answer = document(sections)
        typer.echo(json.dumps(answer))
        failed = answer["worst"] == "failure"
    else:
        told = list(_shown(sections))
        typer.echo(_conclusion(told))
        failed = worst(each for section in told for each in section.findings) == "failure"
    raise typer.Exit(1 if failed else 0)


def _sections(
    ranks: int | None, engine: str, oversubscribe: bool, site: str | None, out: Path, data: str | None
) -> Iterator[Section]:
    """What is wrong with the command line is told before anything is looked at."""
    from hpcdl.cli.cluster import own_sites
    from hpcdl.cli.prepare import machine, search_places
    from hpcdl.config.engines import resolve
    from hpcdl.doctor.examine import Asked, Examination
    from hpcdl.doctor.here import this_machine
    from hpcdl.launch.topology import is_root, read_topology
    from hpcdl.launch.tuning import check_slots
    from hpcdl.slurm.sites import load_site, site_path

    if ranks is not None:
        check_slots(read_topology(), ranks, oversubscribe=oversubscribe)
    resolve(engine, ranks or 1)
    if engine == "single":
        raise ConfigError("--engine single", "horovod, mpi or auto", "leave --engine out to try what is installed")

    asked = Asked(
        out=out,
        places=lambda: [("--data", data)] if data else search_places(),
        root=is_root(),
        ranks=ranks,
        engine=engine,
        machine=machine,
    )
    examination = Examination(this_machine(os.environ))
    if site is None:
        return examination.everything(asked)
    own = own_sites()
    described, file = load_site(site, own), site_path(site, own)

    def one() -> Iterator[Section]:
        yield examination.site(described, file, own)
        yield from examination.ranks(asked)

    return one()


def _shown(sections: Iterable[Section]) -> Iterator[Section]:
    """Prints each section as soon as it is known, and passes it on."""
    first = True
    for section in sections:
        width = max(len(each.name) for each in section.findings) if section.findings else 0
        typer.echo(("" if first else "\n") + section.title)
        first = False
        for each in section.findings:
            typer.echo(f"{_word(each.state)} {each.name:{width}}  {each.told}")
            if each.mend:
                typer.echo(f"{'':8} {'':{width}}  fix: {each.mend}")
        yield section


def _word(state: State) -> str:
    """The state in eight letters, in colour where a terminal shows it."""
    colour = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "failure": typer.colors.RED}[state]
    return typer.style(f"{state:8}", fg=colour)


def _conclusion(sections: Iterable[Section]) -> str:
    states = [each.state for section in sections for each in section.findings]
    counts = [(states.count("failure"), "failure"), (states.count("warning"), "warning")]
    parts = [f"{many} {noun}{'' if many == 1 else 's'}" for many, noun in counts]
    return "\n" + ", ".join(parts)
