"""Hosts made on this machine: namespaces with a name, a network, processes and an sshd of their own, one disk.

For root. Nothing of them is seen outside, and they end when whoever made them does, however it ends: a host's first
process waits for the end of its input, and the kernel takes all else in its namespaces along.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from hpcdl.errors import LaunchError
from hpcdl.launch.cables import SUBNET
from hpcdl.launch.supervisor import ask, hold

SSHD = "/usr/sbin/sshd"
PROGRAMS = ("ip", "tc", "mount", "nsenter", "unshare", "ssh", "ssh-keygen", SSHD)
SSHD_CONFIG = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/own.pub
PidFile none
StrictModes no
PermitRootLogin prohibit-password
UsePAM no
SetEnv TMPDIR=/run
"""
"""Hosts share /tmp, where MPI's daemons name folders by process numbers, which two hosts may both give."""
SSH_CONFIG = """
Host *
  IdentityFile {folder}/own
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  LogLevel ERROR
"""
# read, a command of the shell itself: the host's list of processes stays empty.
FIRST = """
hostname "$1" && mount --bind "$2/hosts" /etc/hosts && mount -t tmpfs none /run && mkdir /run/sshd \
&& ip link set lo up && echo ready && read -r end
rm -rf -- "$2"
"""
"""What a host's first process does: $1 is its name, $2 the folder of all hosts' keys, which goes with them."""
NEW_SPACES = 0x00020000 | 0x04000000 | 0x40000000
"""CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWNET of <sched.h>."""


def address(place: int) -> str:
    """Of the n-th host, counted from 1."""
    return f"{SUBNET}.{place}"


def write_access(folder: Path, names: Sequence[str]) -> None:
    """Keys, and what ssh, sshd and /etc/hosts read, for hosts with these names.

    Raises:
        LaunchError: ssh-keygen fails.
    """
    for key in ("own", "host"):
        must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)])
    public = (folder / "host.pub").read_text(encoding="ascii")
    places = {name: address(place) for place, name in enumerate(names, 1)}
    texts = {
        "known": "".join(f"{name},{place} {public}" for name, place in places.items()),
        "hosts": "127.0.0.1 localhost\n" + "".join(f"{place} {name}\n" for name, place in places.items()),
        "sshd_config": SSHD_CONFIG.format(folder=folder),
        "ssh_config": SSH_CONFIG.format(folder=folder),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="ascii")


@contextmanager
def host(name: str, folder: Path) -> Iterator[int]:
    """A host, with no cable yet; answers its first process, as seen from here.

    Args:
        name: its own name.
        folder: with what `write_access` wrote; it is deleted when the host ends.

    Raises:
        LaunchError: this machine makes none.
    """
    spaces = ["--net", "--uts", "--mount", "--pid", "--ipc", "--fork", "--mount-proc"]
    with hold(["unshare", *spaces, "sh", "-c", FIRST, "sh", name, str(folder)], os.environ) as (outer, said):
        if said != "ready":
            raise LaunchError(f"host {name}: {said or 'no namespaces'}", "namespaces of Linux", "see `man unshare`")
        yield psutil.Process(outer).children()[0].pid


def inside(pid: int, *command: str) -> list[str]:
    """The argv that runs a command on the host of a first process."""
    return ["nsenter", "--target", str(pid), "-n", "-u", "-m", "-p", "-i", "--", *command]


def serve(pid: int, folder: Path) -> None:
    """Starts a host's sshd.

    Raises:
        LaunchError: it does not start.
    """
    must(inside(pid, SSHD, "-f", str(folder / "sshd_config")))


def become(name: str, folder: Path) -> None:
    """This process, and what it starts from now on, are a host of this name, with no cable yet; there is no way back.

    Raises:
        LaunchError: this machine makes none.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_SPACES) != 0:
        raise LaunchError(f"unshare: {os.strerror(ctypes.get_errno())}", "namespaces of Linux", "see `man unshare`")
    must(["mount", "--make-rprivate", "/"])
    must(["mount", "--bind", str(folder / "hosts"), "/etc/hosts"])
    must(["ip", "link", "set", "lo", "up"])
    socket.sethostname(name)


def must(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> None:
    """Runs a command, which must work.

    Raises:
        LaunchError: it does not.
    """
    answer = ask(argv, environ)
    if answer.code:
        said = (answer.err or answer.out).strip().splitlines()
        raise LaunchError(f"{' '.join(argv)}: {said[-1] if said else f'code {answer.code}'}", "it to work", "see there")
