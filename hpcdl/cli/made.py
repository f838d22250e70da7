"""--made-hosts: a network of a known rate between hosts that are made on this machine, where that is allowed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from hpcdl.errors import ConfigError
from hpcdl.launch.hosts import Here, Where, forwarded
from hpcdl.launch.supervisor import inherited

RATE = "1gbit"
MadeHosts = Annotated[
    int | None,
    typer.Option("--made-hosts", min=2, max=32, help="As root: makes so many hosts on this machine, with a network."),
]
MadeRate = Annotated[
    str | None,
    typer.Option("--made-rate", metavar="RATE", help=f"Of each one's link, 1mbit to 100gbit; default {RATE}."),
]


def place(
    context: typer.Context,
    hosts: int | None,
    rate: str | None,
    named: Mapping[str, str | None],
    ranks: int,
    *,
    oversubscribe: bool,
    dry_run: bool,
) -> Where | None:
    """The made hosts, which go with the command's context; this machine alone where none can be made, and says why.

    Args:
        context: of the command.
        hosts: of --made-hosts; None: no hosts are made, and so is the answer.
        rate: of --made-rate.
        named: options that name other hosts, which cannot be had besides.
        ranks: the largest world size, which decides how many ranks a host takes.
        oversubscribe: allow more ranks than this machine's cores.
        dry_run: make nothing.

    Raises:
        ConfigError: --made-rate without --made-hosts, both with named hosts, no rate, more hosts than ranks, or more
            ranks than cores.
        LaunchError: hosts could not be made, although a trial said so.
    """
    from hpcdl.launch.cables import parse_rate
    from hpcdl.launch.madenetwork import made_network, planned, unable
    from hpcdl.launch.topology import read_topology
    from hpcdl.launch.tuning import check_slots

    if hosts is None:
        if rate is not None:
            raise ConfigError(f"--made-rate {rate} without --made-hosts", "both", "add --made-hosts 2")
        return None
    for option in (option for option, value in named.items() if value is not None):
        raise ConfigError(f"{option} with --made-hosts", "hosts that are there or hosts that are made", "leave one out")
    wanted = parse_rate(rate or RATE)
    if ranks < hosts:
        raise ConfigError(
            f"--made-hosts {hosts} for {ranks} rank{'' if ranks == 1 else 's'}",
            "a rank or more on each",
            "raise --ranks",
        )
    check_slots(read_topology(), ranks, oversubscribe=oversubscribe)
    slots = -(-ranks // hosts)
    if dry_run:
        return planned(hosts, slots, wanted)
    if why := unable(wanted):
        print(f"hpcdl: no hosts are made: {why}; this machine is measured alone", file=sys.stderr)
        return Here(f"no hosts were made: {why}")
    return context.with_resource(made_network(hosts, slots, wanted, forwarded(inherited(os.environ))))
