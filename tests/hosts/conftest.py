"""Two hosts on one machine: namespaces with a name, a network, processes and an sshd of their own, one disk."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

Completed = subprocess.CompletedProcess[str]
NAMES = ("h1", "h2")
PACKAGE = Path(__file__).parents[2]
SSHD_CONFIG = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/own.pub
PidFile none
StrictModes no
PermitRootLogin prohibit-password
UsePAM no
"""
SSH_CONFIG = """
Host *
  IdentityFile {folder}/own
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  LogLevel ERROR
"""


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
        return ["nsenter", "--target", str(self.inner[host]), "-n", "-u", "-m", "-p", "-i", "--", *command]

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
    """h1 and h2. Each ends with its first process, and takes its network and its mounts along."""
    folder = tmp_path_factory.mktemp("hosts")
    for key in ("own", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    public = (folder / "host.pub").read_text(encoding="ascii")
    addresses = {name: f"10.77.0.{place}" for place, name in enumerate(NAMES, 1)}
    known = [f"{name},{address} {public}" for name, address in addresses.items()]
    (folder / "known").write_text("".join(known), encoding="ascii")
    names = "".join(f"{address} {name}\n" for name, address in addresses.items())
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}", encoding="ascii")
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(folder=folder), encoding="ascii")
    (folder / "ssh_config").write_text(SSH_CONFIG.format(folder=folder), encoding="ascii")
    started: list[subprocess.Popen[bytes]] = []
    try:
        inner = {}
        for name in NAMES:
            started.append(_start(name, folder))
            inner[name] = _child(started[-1])
        lab = Hosts(folder, inner, run_command)
        _connect(lab, addresses)
        for name in NAMES:
            lab.on(name, "mkdir", "-p", "/run/sshd")
            lab.on(name, "/usr/sbin/sshd", "-f", str(folder / "sshd_config"))
        yield lab
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)  # --kill-child: the host's first process goes, and all others with it
            process.wait()


def _start(name: str, folder: Path) -> subprocess.Popen[bytes]:
    spaces = ["--net", "--uts", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    body = f"hostname {name} && mount --bind '{folder}/hosts' /etc/hosts && ip link set lo up && exec sleep infinity"
    return subprocess.Popen(["unshare", *spaces, "sh", "-c", body])


def _child(process: subprocess.Popen[bytes]) -> int:
    """The host's first process, once it is ready."""
    deadline = monotonic() + 20
    while monotonic() < deadline:
        below = psutil.Process(process.pid).children()
        if below and below[0].name() == "sleep":
            return below[0].pid
        sleep(0.05)
    raise RuntimeError("no namespaces")


def _connect(lab: Hosts, addresses: dict[str, str]) -> None:
    """A cable between the two, made inside of the first: no name of it is ever seen outside."""
    lab.on("h1", "ip", "link", "add", "net0", "type", "veth", "peer", "name", "far0")
    # The other end's namespace is named by a process that h1 does not see, so it is moved from outside.
    subprocess.run(
        ["nsenter", "--target", str(lab.inner["h1"]), "-n", "--", "ip", "link", "set", "far0", "netns",
         str(lab.inner["h2"])], check=True,
    )  # fmt: skip
    lab.on("h2", "ip", "link", "set", "far0", "name", "net0")
    for name, address in addresses.items():
        lab.on(name, "ip", "address", "add", f"{address}/24", "dev", "net0")
        lab.on(name, "ip", "link", "set", "net0", "up")
