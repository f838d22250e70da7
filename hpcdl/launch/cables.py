"""A switch and cables of a known rate between made hosts: values in, argv out."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hpcdl.errors import ConfigError

DEVICE = "net0"
"""What the cable is called on every host."""
SUBNET = "10.77.0"
SLOWEST, FASTEST = 1e6, 100e9
BURST_SECONDS, LEAST_BURST = 1e-3, 16 * 1024
"""A link that was idle sends so much at once; more would show in short transfers, less costs processor time."""
QUEUE = "100ms"
"""Longest wait in a link's queue before packets are dropped."""


def parse_rate(text: str) -> float:
    """Bits a second from "100mbit" or "2.5gbit".

    Raises:
        ConfigError: no rate, or one that this cannot make.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mg])bit(?:/s)?", text.strip().lower(), re.ASCII)
    rate = float(match[1]) * {"m": 1e6, "g": 1e9}[match[2]] if match else 0.0
    if not SLOWEST <= rate <= FASTEST:
        raise ConfigError(f"--made-rate {text}", "1mbit to 100gbit", "for example --made-rate 1gbit")
    return rate


def cabling(hosts: Mapping[str, int], addresses: Mapping[str, str], rate: float | None) -> list[list[str]]:
    """The commands that join hosts by a switch, which is a bridge in the first one's namespace.

    Each host's link has the rate in each direction, so all of them can send and receive at once, as at a switch that
    does not block.

    Args:
        hosts: a process in the network namespace of each, by name.
        addresses: of each.
        rate: bits a second; None leaves links as fast as the machine is.
    """
    switch = next(iter(hosts.values()))
    commands = [_on(switch, "ip", "link", "add", "switch0", "type", "bridge"), _on(switch, *_up("switch0"))]
    for number, (name, pid) in enumerate(hosts.items(), 1):
        port, far = f"port{number}", f"far{number}"
        commands.append(_on(switch, "ip", "link", "add", port, "type", "veth", "peer", "name", far))
        if pid != switch:
            commands.append(_on(switch, "ip", "link", "set", far, "netns", str(pid)))
        commands += [
            _on(pid, "ip", "link", "set", far, "name", DEVICE),
            _on(pid, "ip", "address", "add", f"{addresses[name]}/24", "dev", DEVICE),
            _on(switch, "ip", "link", "set", port, "master", "switch0"),
            _on(pid, *_up(DEVICE)),
            _on(switch, *_up(port)),
        ]
        if rate is not None:
            commands += [_on(pid, *limit(DEVICE, rate)), _on(switch, *limit(port, rate))]
    return commands


def limit(device: str, rate: float) -> list[str]:
    """The argv that limits what a device sends, by a token bucket (tc-tbf)."""
    burst = max(LEAST_BURST, round(rate / 8 * BURST_SECONDS))
    bucket = ["rate", f"{rate:.0f}bit", "burst", f"{burst}b", "latency", QUEUE]
    return ["tc", "qdisc", "add", "dev", device, "root", "tbf", *bucket]


def _on(pid: int, *command: str) -> list[str]:
    """In a network namespace alone: others are named by processes, which a host's own process list does not have."""
    return ["nsenter", "--target", str(pid), "-n", "--", *command]


def _up(device: str) -> list[str]:
    return ["ip", "link", "set", device, "up"]
