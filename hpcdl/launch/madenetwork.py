"""Several hosts and a network of a known rate, made on this machine for as long as something is measured."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hpcdl.launch import link
from hpcdl.launch.cables import DEVICE, cabling, limit
from hpcdl.launch.hosts import Host, Listed, parse_ssh
from hpcdl.launch.madehosts import PROGRAMS, address, become, host, must, serve, write_access
from hpcdl.launch.supervisor import ask

TRIAL = "ip link add try0 type veth peer name try1 && ip link add try2 type bridge && {limit}"


def unable(rate: float) -> str | None:
    """Why no network can be made here; None where it can, as tried in a namespace that goes again.

    Args:
        rate: bits a second.
    """
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"no {', '.join(missing)} on this machine"
    trial = TRIAL.format(limit=shlex.join(limit("try0", rate)))
    answer = ask(["unshare", "--net", "--uts", "--mount", "--pid", "--ipc", "--fork", "sh", "-c", trial], os.environ)
    said = answer.err.strip().splitlines()
    return (said[-1] if said else f"code {answer.code} of `{trial}`") if answer.code else None


def names(count: int) -> list[str]:
    """h1, h2 and so on."""
    return [f"h{number}" for number in range(1, count + 1)]


def planned(count: int, slots: int, rate: float) -> Listed:
    """The hosts as they would be, for a plan that starts nothing."""
    return Listed(tuple(Host(name, slots) for name in names(count)), interface=DEVICE, network={"rate_bit_per_s": rate})


@contextmanager
def made_network(count: int, slots: int, rate: float, env: Mapping[str, str]) -> Iterator[Listed]:
    """Makes hosts, of which this process becomes the first, and leaves none behind.

    This process stays in the first host's namespaces to its end, without the others and without a way out.

    Args:
        count: hosts, 2 or more.
        slots: ranks of each.
        rate: of each host's link in each direction, bits a second.
        env: variables that ranks on other hosts need.

    Raises:
        LaunchError: this machine makes none.
        ConfigError: the folder of temporary files has a space in its name, which mpirun cannot pass to ssh.
    """
    machine, called = socket.gethostname(), names(count)
    folder = Path(tempfile.mkdtemp(prefix="hpcdl-hosts-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        ssh = parse_ssh(f"ssh -F {folder}/ssh_config")
        write_access(folder, called)
        others = {name: stack.enter_context(host(name, folder)) for name in called[1:]}
        become(called[0], folder)
        pids = {called[0]: os.getpid(), **others}
        for argv in cabling(pids, {name: address(place) for place, name in enumerate(called, 1)}, rate):
            must(argv)
        for pid in others.values():
            serve(pid, folder)
        where = Listed(tuple(Host(name, slots) for name in called), ssh, DEVICE, env)
        yield Listed(where.hosts, ssh, DEVICE, env, network=_record(machine, rate, _measured(where)))


def _measured(where: Listed) -> tuple[float, float] | None:
    """From the second host to the first."""
    settings = [f"{name}={value}" for name, value in sorted(where.env.items())]
    python = ["env", *settings, sys.executable, "-P", "-m", "hpcdl.launch.link", address(1)]

    def call(port: int) -> None:
        ask([*where.ssh, where.hosts[1].name, shlex.join([*python, str(port)])], os.environ)

    return link.measure(address(1), call)


def _record(machine: str, rate: float, measured: tuple[float, float] | None) -> Mapping[str, Any]:
    found: dict[str, Any] = {
        "made": "network namespaces of one machine, joined by a bridge; tc-tbf limits each link in each direction",
        "machine": machine,
        "rate_bit_per_s": rate,
        "added_delay_s": 0.0,
        "measured_by": "a TCP transfer from the second host to the first, and a byte there and back, by hpcdl",
    }
    if measured is None:
        return {**found, "measured_by": "not measured"}
    return {**found, "measured_bit_per_s": measured[0], "measured_round_trip_s": measured[1]}
