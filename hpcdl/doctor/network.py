"""Network interfaces, InfiniBand, and variables that name them."""

from __future__ import annotations

import resource
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from hpcdl.doctor.findings import Finding, failure, ok, warning
from hpcdl.doctor.here import Here

NAMING = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "HOROVOD_GLOO_IFACE", "OMPI_MCA_btl_tcp_if_include")
SLOW = 1000
"""Mbit/s below which gradients of any network take longer than its computation."""
BRIDGES = ("docker", "virbr", "br-", "veth", "cni", "podman")


@dataclass(frozen=True)
class Interface:
    """A network interface."""

    name: str
    up: bool
    speed: int | None
    """Mbit/s, where the driver tells."""
    addresses: tuple[str, ...] = ()


def check(here: Here) -> list[Finding]:
    """The network's lines."""
    devices = infiniband(here)
    return [
        *judge_interfaces(interfaces(here)),
        *judge_naming(here.environ, here.names("/sys/class/net")),
        *judge_infiniband(devices),
        *([judge_locked(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])] if devices else []),
    ]


def interfaces(here: Here) -> list[Interface]:
    """What Linux tells of each interface."""
    addresses = psutil.net_if_addrs()
    found = []
    for name in here.names("/sys/class/net"):
        folder = f"/sys/class/net/{name}"
        if not here.file(folder).is_dir():  # bonding_masters is a file
            continue
        speed = here.read(f"{folder}/speed")
        up = here.read(f"{folder}/operstate") == "up" or here.read(f"{folder}/carrier") == "1"
        own = tuple(each.address for each in addresses.get(name, ()) if each.family == socket.AF_INET)
        found.append(Interface(name, up, int(speed) if speed.isdigit() and int(speed) else None, own))
    return found


def judge_interfaces(found: Sequence[Interface]) -> list[Finding]:
    """Each that is up; several on one host are told with how to choose."""
    outer = [each for each in found if each.name != "lo"]
    up = [each for each in outer if each.up]
    if not up:
        return [ok("network", "none but lo: ranks of this machine need no other")]
    lines = [_line(each) for each in up]
    down = [each.name for each in outer if not each.up]
    if down:
        lines.append(ok("down", ", ".join(down)))
    usable = [each.name for each in up if each.addresses]
    if len(usable) > 1:
        best = next((name for name in usable if not name.startswith(BRIDGES)), usable[0])
        told = f"{', '.join(usable)}; if ranks of several hosts hang, name the one between them: "
        lines.append(ok("choice", f"{told}OMPI_MCA_btl_tcp_if_include={best} NCCL_SOCKET_IFNAME={best}"))
    return lines


def _line(each: Interface) -> Finding:
    speed = "speed not told" if each.speed is None else f"{each.speed:,} Mbit/s"
    told = ", ".join(["up", speed, *(each.addresses or ["no IPv4 address"])])
    if each.speed is not None and each.speed < SLOW and each.addresses:
        return warning(each.name, told, "between hosts take a faster one: gradients of 1 million weights are 32 Mbit")
    return ok(each.name, told)


def judge_naming(environ: Mapping[str, str], names: Sequence[str]) -> list[Finding]:
    """Variables that name an interface which is not here."""
    found = []
    for variable in NAMING:
        value = environ.get(variable, "")
        # NCCL: ^ leaves out, = takes whole names, else beginnings; Open MPI takes networks as 10.0.0.0/8 too.
        wanted = [word.strip().lstrip("=") for word in value.split(",") if word.strip()]
        if not wanted or value.startswith("^"):
            continue
        begins = variable == "NCCL_SOCKET_IFNAME" and not value.startswith("=")
        missing = [word for word in wanted if "/" not in word and not _is_here(word, names, begins=begins)]
        if len(missing) == len(wanted) or (missing and not begins):
            mend = f"set it to one of: {', '.join(names)}; or unset {variable}"
            found.append(failure(variable, f"{value}: no interface {missing[0]} here", mend))
        else:
            found.append(ok(variable, value))
    return found


def _is_here(word: str, names: Sequence[str], *, begins: bool) -> bool:
    return any(name == word or (begins and name.startswith(word)) for name in names)


def infiniband(here: Here) -> dict[str, tuple[str, str]]:
    """State and rate of each port, as "4: ACTIVE" and "100 Gb/sec (4X EDR)"."""
    ports = {}
    for device in here.names("/sys/class/infiniband"):
        for port in here.names(f"/sys/class/infiniband/{device}/ports"):
            folder = f"/sys/class/infiniband/{device}/ports/{port}"
            ports[f"{device}:{port}"] = (here.read(f"{folder}/state"), here.read(f"{folder}/rate"))
    return ports


def judge_infiniband(ports: Mapping[str, tuple[str, str]]) -> list[Finding]:
    """Ports that are active; none that is."""
    active = {name: rate for name, (state, rate) in ports.items() if "ACTIVE" in state}
    if ports and not active:
        told = ", ".join(f"{name} {state}" for name, (state, _) in ports.items())
        return [
            warning("InfiniBand", told, "ask the admins: cable and subnet manager; MPI and NCCL take TCP meanwhile")
        ]
    return [ok("InfiniBand", ", ".join(f"{name} {rate}" for name, rate in active.items()))] if active else []


def judge_locked(limit: int) -> Finding:
    """InfiniBand's buffers are locked memory.

    Args:
        limit: bytes that a process may lock; RLIM_INFINITY without a limit.
    """
    if limit == resource.RLIM_INFINITY:
        return ok("locked memory", "unlimited")
    mend = "unlimited memlock in /etc/security/limits.conf; under Slurm, LimitMEMLOCK=infinity of slurmd's service"
    return warning("locked memory", f"{limit / 2**20:,.1f} MiB: InfiniBand's buffers need more", mend)
