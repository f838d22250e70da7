"""Asks named hosts over ssh, before any rank starts, whether they can take part; and carries a run's files."""

from __future__ import annotations

import json
import shlex
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import psutil

from hpcdl.answer import NO_ANSWER, Answer
from hpcdl.errors import ConfigError, HpcdlError, LaunchError
from hpcdl.launch.hostprobe import MARK, Report, look
from hpcdl.launch.hosts import Listed
from hpcdl.launch.supervisor import ask
from hpcdl.records import write_text

SECONDS = 120.0
"""For a host to start Python and look at its files; ssh itself gives up after 5."""
AT_ONCE = 32
UNREACHED = 255
"""ssh's own code."""

Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""A host's name and a question -> its answer."""


def check_hosts(where: Listed, paths: Mapping[str, Path], environ: Mapping[str, str]) -> list[str]:
    """Refuses hosts that cannot be reached or are not like this one.

    Args:
        where: the hosts.
        paths: what ranks read, by what a person calls it: there must be the same on every host.
        environ: of this process.

    Returns:
        What differs and only costs time, for a person.

    Raises:
        LaunchError: it tells every host with what is wrong there.
    """
    wanted = {name: str(path) for name, path in paths.items()}
    here = look(wanted)
    answers = _ask_all(asker(where, environ), elsewhere(where), {"ask": "look", "paths": wanted})
    reports = {name: Report(**told) for name, told in answers.items()}
    _check_names(where, reports, here)
    wrong = [line for name, there in reports.items() for line in differences(name, there, here, paths)]
    if wrong:
        raise LaunchError(
            "; ".join(wrong),
            "the same software and files on every host, at the same paths",
            "install or copy what differs there, or use a folder that all hosts share",
        )
    return [line for name, there in reports.items() for line in remarks(name, there, here)]


def differences(name: str, there: Report, here: Report, paths: Mapping[str, Path]) -> list[str]:
    """What keeps a host from taking part."""
    lines = [
        f"{package} {there.versions.get(package, 'none')} on {name}, {own} here"
        for package, own in here.versions.items()
        if there.versions.get(package, "none") != own
    ]
    for what, own in here.paths.items():
        held = there.paths.get(what)
        if held is None:
            lines.append(f"{what} at {paths[what]} missing on {name}")
        elif held != own:
            lines.append(f"{what} at {paths[what]}: {held} on {name}, {own} here")
    return lines


def remarks(name: str, there: Report, here: Report) -> list[str]:
    """What differs between hosts and only costs time."""
    lines = []
    if there.cores != here.cores:
        lines.append(f"{name} has {there.cores} cores, {here.cores} here: threads are chosen for hosts that are alike")
    if there.bfloat16 != here.bfloat16:
        which = name if there.bfloat16 else "this machine"
        lines.append(f"only {which} has instructions for bfloat16: elsewhere it is slow")
    return lines


def open_folders(
    where: Listed, folder: Path, files: Sequence[str], environ: Mapping[str, str], *, overwrite: bool
) -> tuple[str, ...]:
    """Makes the run's folder on hosts that do not see it.

    Args:
        where: the hosts.
        folder: of the run, with what ranks read in it.
        files: names of what ranks read there.
        environ: of this process.
        overwrite: replace what an earlier run has left on such a host.

    Returns:
        Hosts with a folder of their own; `fetch` gets what their ranks write.

    Raises:
        LaunchError: a host does not answer, or cannot make the folder.
        ConfigError: rank 0 would write its records where this machine does not see them.
    """
    ask_host, far = asker(where, environ), elsewhere(where)
    marker = folder / f".seen-{token_hex(8)}"
    marker.touch()
    try:
        answers = _ask_all(ask_host, far, {"ask": "see", "marker": str(marker)})
    finally:
        marker.unlink()
    apart = tuple(name for name in far if not answers[name]["shared"])
    first = where.hosts[0].name
    if first in apart:
        raise ConfigError(
            f"--hosts that begin with {first}, where {folder} is not the same folder as here",
            "records of rank 0 that this machine can read",
            "name this machine first, or choose an --out that all hosts share",
        )
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in files}
    _ask_all(ask_host, apart, {"ask": "make", "folder": str(folder), "files": texts, "overwrite": overwrite})
    return apart


def fetch(where: Listed, apart: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
    """Copies what ranks on hosts with a folder of their own have written into this one.

    Raises:
        LaunchError: a host does not answer any more.
    """
    answers = _ask_all(asker(where, environ), apart, {"ask": "collect", "folder": str(folder)})
    for told in answers.values():
        for name, text in told["files"].items():
            write_text(folder / "ranks" / Path(name).name, text)


def elsewhere(where: Listed) -> list[str]:
    """The hosts that are not this machine."""
    return [host.name for host in where.hosts if not is_here(host.name)]


def is_here(name: str) -> bool:
    """Whether a name is this machine's. One that only ssh knows is taken for another's."""
    own = socket.gethostname()
    if name in ("localhost", own, own.partition(".")[0]):
        return True
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
    except OSError:
        return False
    addresses = {address.address.partition("%")[0] for some in psutil.net_if_addrs().values() for address in some}
    return not found.isdisjoint(addresses)


def still_there(where: Listed, environ: Mapping[str, str]) -> Listed:
    """The hosts that answer, those that are this machine among them; maybe none."""
    ask_host = asker(where, environ)

    def answers(name: str) -> bool:
        try:
            ask_host(name, {"ask": "look", "paths": {}})
        except HpcdlError:
            return False
        return True

    far = elsewhere(where)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        gone = {name for name, there in zip(far, pool.map(answers, far), strict=True) if not there}
    return replace(where, hosts=tuple(host for host in where.hosts if host.name not in gone))


def asker(where: Listed, environ: Mapping[str, str]) -> Ask:
    """A function that asks one host, with this very Python at the same path there."""
    settings = [f"{name}={value}" for name, value in sorted(where.env.items())]
    # ssh hands one line to a shell on the other side: quoted once, here; paths go through the input.
    line = shlex.join(["env", *settings, sys.executable, "-P", "-m", "hpcdl.launch.hostprobe"])

    def ask_host(name: str, question: Mapping[str, Any]) -> dict[str, Any]:
        answer = ask([*where.ssh, name, line], environ, seconds=SECONDS, text=json.dumps(question))
        return read_answer(name, answer, shlex.join([*where.ssh, name, "true"]))

    return ask_host


def read_answer(name: str, answer: Answer, attempt: str) -> dict[str, Any]:
    """What a host has said.

    Args:
        name: the host's.
        answer: ssh's code and output.
        attempt: a command that shows a person whether ssh works.

    Raises:
        LaunchError: nothing, or an error.
    """
    said = [line for line in answer.err.strip().splitlines() if line.strip()]
    if answer.code in (UNREACHED, NO_ANSWER):
        raise LaunchError(
            f"host {name}: {said[-1].strip() if said else 'ssh fails'}",
            "every host to answer ssh, which asks no question",
            f"try `{attempt}`; keys, ports and gateways belong into ~/.ssh/config",
        )
    marked = [line for line in answer.out.splitlines() if line.startswith(MARK)]
    if answer.code or not marked:
        raise LaunchError(
            f"host {name}: {said[-1].strip() if said else f'code {answer.code}'}",
            f"hpcdl and {sys.executable} there as here",
            "install it at the same path, or use a folder that all hosts share",
        )
    told: dict[str, Any] = json.loads(marked[-1].removeprefix(MARK))
    if "error" in told:
        received, expected, fix = told["error"]
        raise LaunchError(f"host {name}: {received}", expected, fix)
    return told


def _ask_all(one: Ask, names: Sequence[str], question: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Asks hosts at once; several that fail are told together."""

    def outcome(name: str) -> dict[str, Any] | HpcdlError:
        try:
            return one(name, question)
        except HpcdlError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(names, pool.map(outcome, names), strict=True))
    failed = [told for told in found.values() if isinstance(told, HpcdlError)]
    if failed:
        raise LaunchError("; ".join(error.received for error in failed), failed[0].expected, failed[0].fix)
    return {name: told for name, told in found.items() if not isinstance(told, HpcdlError)}


def _check_names(where: Listed, reports: Mapping[str, Report], here: Report) -> None:
    """Ranks find their node and their GPU by the host's own name, so no two hosts may share one."""
    named: dict[str, str] = {}
    for name in (host.name for host in where.hosts):
        own = reports[name].host if name in reports else here.host
        if own in named:
            raise ConfigError(
                f"--hosts {named[own]} and {name}, which both call themselves {own}",
                "different machines with different host names",
                "name each machine once, with all its slots",
            )
        named[own] = name
