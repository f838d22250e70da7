"""Two hosts on one machine: namespaces with a name, a network, processes and an sshd of their own, one disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from hpcdl.launch.cables import cabling
from hpcdl.launch.madehosts import address, host, inside, must, serve, write_access

Completed = subprocess.CompletedProcess[str]
NAMES = ("h1", "h2")
PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Hosts:
    """The two hosts.

    Attributes:
        folder: of keys and configuration.
        inner: the first process of each, seen from outside.
        finish: runs a command with a time limit.
    """

    folder: Path
    inner: dict[str, int]
    finish: Callable[..., Completed]

    def inside(self, host: str, *command: str) -> list[str]:
        """The argv that runs a command on a host."""
        return inside(self.inner[host], *command)

    def on(self, host: str, *command: str) -> None:
        """Runs a command on a host, which must work."""
        subprocess.run(self.inside(host, *command), check=True, capture_output=True)

    def hpcdl(self, place: Path, *arguments: str, **environ: str) -> list[str]:
        """The argv of the command line on h1, in a folder."""
        own = {"PYTHONPATH": str(PACKAGE), "HPCDL_SSH": f"ssh -F {self.folder}/ssh_config", **environ}
        settings = [f"{name}={value}" for name, value in own.items()]
        command = ["env", "-u", "HPCDL_DATA", f"--chdir={place}", *settings, sys.executable, "-m", "hpcdl"]
        return self.inside("h1", *command, *arguments)

    def run(self, place: Path, *arguments: str, **environ: str) -> Completed:
        """The command line on h1, in a folder, to its end."""
        return self.finish(self.hpcdl(place, *arguments, **environ), 240)

    def processes(self, host: str) -> list[str]:
        """What runs on a host, but for its first process and sshd."""
        space = Path(f"/proc/{self.inner[host]}/ns/pid").readlink()
        found = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            try:
                inside = Path(f"/proc/{process.pid}/ns/pid").readlink() == space
            except OSError:
                continue
            line = " ".join(process.info["cmdline"] or [])
            if inside and process.pid != self.inner[host] and line and "sshd" not in line:
                found.append(line)
        return found


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, run_command: Callable[..., Completed]) -> Iterator[Hosts]:
    """h1 and h2, made as `hpcdl bench --made-hosts` makes them, with a cable that is as fast as the machine."""
    folder = tmp_path_factory.mktemp("hosts")
    write_access(folder, NAMES)
    with ExitStack() as stack:
        inner = {name: stack.enter_context(host(name, folder)) for name in NAMES}
        addresses = {name: address(place) for place, name in enumerate(NAMES, 1)}
        for argv in cabling(inner, addresses, rate=None):
            must(argv)
        for pid in inner.values():
            serve(pid, folder)
        yield Hosts(folder, inner, run_command)
