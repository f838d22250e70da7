"""The lines of `hpcdl container check`: ok, warning or failure, each with its mend."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from hpcdl.answer import Answer, Ask
from hpcdl.containers.apptainer import Command, exec_argv
from hpcdl.containers.facts import ASK_HOST, ASK_IMAGE, Facts, read_answer, read_labels
from hpcdl.containers.match import Verdict
from hpcdl.errors import ConfigError
from hpcdl.mpi import dotted

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""uname's names for what images call their architecture."""
OLDEST_TENSORFLOW = (2, 18)


@dataclass(frozen=True)
class Line:
    """One thing that was checked."""

    about: str
    status: Literal["ok", "warning", "failure"]
    said: str
    mend: str | None = None


def look_at_host(ask: Ask, prefix: str | None) -> Facts:
    """Asks this machine.

    Args:
        ask: runs a command and answers what it said.
        prefix: folder of the MPI whose mpirun is first on the path.
    """
    return read_answer(ask(ASK_HOST).out, prefix=prefix)


def look_at_image(ask: Ask, command: Command, image: str) -> Facts:
    """Asks an image.

    Raises:
        ConfigError: it is none, or cannot be run here.
    """
    inspected = ask([command, "inspect", "--json", image])
    if inspected.code:
        raise ConfigError(
            f"{image}: {_last(inspected)}",
            "an image of Apptainer or SingularityCE",
            "`hpcdl container build` makes one",
        )
    labels = read_labels(inspected.out)
    said = ask(exec_argv(command, image, ASK_IMAGE, gpu=None, binds=[], env={}))
    if said.code:
        raise ConfigError(f"{image}: {_last(said)}", "an image that runs here", f"try `{command} exec {image} true`")
    return read_answer(said.out, labels=labels)


def lines(host: Facts, image: Facts, verdict: Verdict, version: str) -> list[Line]:
    """What was found, in the order in which a person would ask.

    Args:
        host: this machine.
        image: the image.
        verdict: how ranks start.
        version: hpcdl's on the host.
    """
    return [
        _architecture(host, image),
        _package(image, "hpcdl", version),
        _tensorflow(image),
        _package(image, "keras", None),
        _labels(image),
        *_pmix(host, image),
        *_ways(verdict),
        *_ucx(host),
    ]


def environment_lines(verdict: Verdict) -> str:
    """The options for `apptainer exec` that a verdict asks for."""
    line = exec_argv("apptainer", "IMAGE", [], gpu=None, binds=verdict.binds, env=verdict.env)
    return shlex.join(line[2:-1])


def _architecture(host: Facts, image: Facts) -> Line:
    built = image.labels.get("org.label-schema.build-arch")
    machine = MACHINES.get(built, built) if built else image.machine
    if machine != host.machine:
        return Line("architecture", "failure", f"{machine}; this machine is {host.machine}", "build the image here")
    return Line("architecture", "ok", f"{machine}")


def _package(image: Facts, name: str, wanted: str | None) -> Line:
    found = image.packages.get(name)
    if found is None:
        return Line(name, "failure", "not in the image", "`hpcdl container build` makes an image that has it")
    if wanted and found != wanted:
        return Line(name, "warning", f"{found}; the host has {wanted}", "build the image again with this hpcdl")
    return Line(name, "ok", found)


def _tensorflow(image: Facts) -> Line:
    found = image.packages.get("tensorflow") or image.packages.get("tensorflow-cpu")
    if found is None:
        return Line("tensorflow", "failure", "not in the image", "`hpcdl container build` makes an image that has it")
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_TENSORFLOW:
        return Line("tensorflow", "warning", f"{found}; hpcdl is tested from 2.18 on", "take an image with a newer one")
    return Line("tensorflow", "ok", found)


def _labels(image: Facts) -> Line:
    kind = image.labels.get("hpcdl.kind")
    if kind is None:
        return Line("labels", "warning", "none of hpcdl's: not built by `hpcdl container build`", "no harm by itself")
    return Line("labels", "ok", f"hpcdl {image.labels.get('org.opencontainers.image.version', '?')}, {kind}")


def _pmix(host: Facts, image: Facts) -> list[Line]:
    known = [f"{dotted(side.pmix)} {where}" for side, where in ((host, "here"), (image, "inside")) if side.pmix]
    return [Line("PMIx", "ok", ", ".join(known))] if known else []


def _ways(verdict: Verdict) -> list[Line]:
    if verdict.way == "neither":
        return [Line("MPI", "failure", f"neither hybrid nor bind: {verdict.why}", verdict.mend)]
    said = f"{verdict.way}: {verdict.why} (start with {verdict.launcher})"
    found = [Line("MPI", "ok", said, f"apptainer exec {environment_lines(verdict)} …" if verdict.binds else None)]
    if verdict.warning:
        found.append(Line("MPI", "warning", verdict.warning))
    return found


def _ucx(host: Facts) -> list[Line]:
    if not host.infiniband:
        return []
    said = "InfiniBand is here; under user namespaces UCX may fail at its start, or fall back to TCP"
    return [Line("UCX", "warning", said, "then set UCX_TLS=sysv,ib for the ranks")]


def _last(said: Answer) -> str:
    """The last line of a complaint, without Apptainer's FATAL."""
    told = (said.err or said.out).strip().splitlines() or [f"exit code {said.code}"]
    return told[-1].removeprefix("FATAL:").strip()
