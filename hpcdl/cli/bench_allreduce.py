"""hpcdl bench allreduce: how long sums over ranks take."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import datetime
from typing import Annotated

import typer

from hpcdl.cli.made import MadeHosts, MadeRate
from hpcdl.cli.options import DryRun, Hosts, Interface, Json, Launcher, Out, Oversubscribe, Overwrite


def allreduce(
    context: typer.Context,
    ranks: Annotated[str, typer.Option("--ranks", help="World sizes, with commas between.")] = "1,2",
    sizes: Annotated[
        str | None, typer.Option("--bytes", help="Sizes with commas between; default 1KiB to 100MiB in seven steps.")
    ] = None,
    engines: Annotated[
        str | None, typer.Option("--engines", help="mpi,horovod; default those that are installed.")
    ] = None,
    compression: Annotated[str, typer.Option("--compression", help="In what values travel: none,fp16,bf16.")] = "none",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Starts of each engine on each rank count.")] = 5,
    iterations: Annotated[
        int, typer.Option("--iterations", min=3, help="Measured calls of a size in each start, at most.")
    ] = 20,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.01, help="For those, at most; three are made anyway.")
    ] = 1.0,
    hosts: Hosts = None,
    interface: Interface = None,
    launcher: Launcher = "mpirun",
    made_hosts: MadeHosts = None,
    made_rate: MadeRate = None,
    out: Out = None,
    oversubscribe: Oversubscribe = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Time sums over ranks by size, engine and compression, beside plain MPI and copies in memory.

    \b
    Examples:
      hpcdl bench allreduce --ranks 1,2
      hpcdl bench allreduce --ranks 2 --bytes 1KiB,1MiB,25MiB --engines mpi --compression none,bf16
      hpcdl bench allreduce --ranks 2,4 --hosts node1:2,node2:2 --interface ib0
      hpcdl bench allreduce --ranks 2 --made-hosts 2 --made-rate 100mbit
    """
    from rich.console import Console

    from hpcdl.bench import allreduce_asked as asked
    from hpcdl.bench.allreduce import WARMUP, Sums, plans, run_sums
    from hpcdl.bench.allreduce_table import NOTES, fit_lines, table
    from hpcdl.bench.study import parse_counts
    from hpcdl.cli import made, prepare
    from hpcdl.launch import folder as folders
    from hpcdl.launch.tuning import check_slots

    counts = parse_counts(ranks, "--ranks")
    sums = Sums(
        ranks=counts,
        bytes=asked.parse_bytes(asked.SIZES if sizes is None else sizes),
        engines=asked.parse_engines(engines),
        compressions=asked.parse_compressions(compression),
        repeats=repeats,
        calls=iterations,
        seconds=seconds,
    )
    named = {"--hosts": hosts, "--interface": interface}
    how = {"oversubscribe": oversubscribe, "dry_run": dry_run}
    made_place = made.place(context, made_hosts, made_rate, named, max(counts), **how)
    where = made_place or prepare.place(hosts, interface, launcher)
    here = prepare.machine(max(counts), where)
    check_slots(here.topology, max(counts), oversubscribe=oversubscribe, where=where)
    folder = (out or folders.default_folder("allreduce", datetime.now())).absolute()
    if dry_run:
        for plan in plans(sums, folder, here):
            typer.echo(shlex.join(plan.argv))
        return
    prepare.check(here, {})
    folders.prepare(folder, overwrite=overwrite)
    console = Console(stderr=as_json, soft_wrap=True, markup=False, emoji=False, highlight=False)
    total, starts = repeats * len(sums.starts()), 0
    console.print(
        f"sums of {', '.join(map(asked.size_words, sums.bytes))}; {', '.join(map(str, counts))} ranks; {total} starts, "
        f"each drops {WARMUP} calls of a size and measures up to {iterations}\nrecords: {folder}"
    )

    def done(size: int, name: str) -> None:
        nonlocal starts
        starts += 1
        console.print(f"{starts:>3}/{total}  {size:>3} ranks  {name}")

    results = run_sums(sums, folder, here, os.environ, ["hpcdl", *sys.argv[1:]], done, overwrite=overwrite)
    if as_json:
        typer.echo((folder / "results.json").read_text(encoding="utf-8"), nl=False)
        return
    for line in ("", *table(results), "", *NOTES, *(["", results.model] if results.fits else []), *fit_lines(results)):
        console.print(line)
    console.print(f"next: hpcdl report {shlex.quote(str(out or folder))}")
