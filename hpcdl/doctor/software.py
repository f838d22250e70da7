"""Python, TensorFlow, Keras and Horovod: there, loading, and of versions that fit each other."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from hpcdl.answer import NO_ANSWER, Answer
from hpcdl.doctor.findings import Finding, failure, ok, warning
from hpcdl.doctor.here import Here, last_line

IMPORT_SECONDS = 180.0
"""TensorFlow's import takes 5 s, and minutes from a busy network file system."""
HOROVOD_TENSORFLOW = "2.18"
HOROVOD_PYTHON = ((3, 11), (3, 12))
OLDEST_TENSORFLOW = (2, 18)
OLDEST_KERAS = (3, 10)
INSTALL = "install again: `make install`"

Said = Mapping[str, Mapping[str, Any]]
"""What each part said of itself (hpcdl/engine/inquire.py); `error` where it did not load."""


def inquire(here: Here, *parts: str) -> Said:
    """Asks libraries in a process of their own, which they may take down."""
    # Horovod imports Keras, whose backend is judged apart: one that is missing is no fault of Horovod's.
    python = ["env", "KERAS_BACKEND=tensorflow", sys.executable, "-P", "-m", "hpcdl.engine.inquire"]
    answer = here.answer(*python, *parts, seconds=IMPORT_SECONDS)
    return {} if answer is None else read_said(answer, parts)


def read_said(answer: Answer, parts: tuple[str, ...]) -> Said:
    """One JSON line a part; a part without a line has ended the process."""
    lines = [line for line in answer.out.splitlines() if line.startswith('{"part"')]
    said = {row.pop("part"): row for row in map(json.loads, lines)}
    missing = [part for part in parts if part not in said]
    if missing:
        how = {NO_ANSWER: f"did not load in {IMPORT_SECONDS:g} s"}.get(
            answer.code, f"ended its process with code {answer.code}: {last_line(answer)}"
        )
        said[missing[0]] = {"error": how}
    return said


def check(here: Here, packages: Mapping[str, str], said: Said) -> list[Finding]:
    """The software's lines.

    Args:
        here: tells KERAS_BACKEND.
        packages: from `installed`.
        said: of tensorflow and horovod.
    """
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        ok("hpcdl", packages.get("hpcdl", "not installed: run from its folder")),
        judge_python(sys.version_info[:2], python, "horovod" in packages),
        judge_tensorflow(packages, said.get("tensorflow", {})),
        judge_keras(packages, here.environ.get("KERAS_BACKEND")),
        judge_horovod(packages, said.get("horovod", {})),
    ]


def judge_python(numbers: tuple[int, ...], told: str, horovod: bool) -> Finding:
    """Horovod's TensorFlow has wheels for 3.11 and 3.12; engine mpi runs on later ones too."""
    low, high = HOROVOD_PYTHON
    if numbers < low:
        return failure("Python", told, "install with Python 3.11 or 3.12: `make install` takes one of them")
    if numbers > high and horovod:
        return warning(
            "Python", f"{told}, too new for Horovod's TensorFlow {HOROVOD_TENSORFLOW}", "use Python 3.11 or 3.12"
        )
    return ok("Python", told if numbers <= high else f"{told}; Horovod would need 3.11 or 3.12")


def judge_tensorflow(packages: Mapping[str, str], said: Mapping[str, Any]) -> Finding:
    """There, new enough, and loading."""
    told = packages.get("tensorflow", said.get("version"))  # builds for other hardware have other package names
    if told is None:
        return failure("TensorFlow", str(said.get("error", "not installed")), INSTALL)
    if "error" in said:
        return failure("TensorFlow", f"{told} does not load: {said['error']}", INSTALL)
    if _numbers(told) < OLDEST_TENSORFLOW:
        return failure("TensorFlow", f"{told}, older than 2.18", INSTALL)
    return ok("TensorFlow", told)


def judge_keras(packages: Mapping[str, str], backend: str | None) -> Finding:
    """There, new enough, and on TensorFlow."""
    told = packages.get("keras")
    if told is None:
        return failure("Keras", "not installed", INSTALL)
    if _numbers(told) < OLDEST_KERAS:
        return failure("Keras", f"{told}, older than 3.10", "pip install --upgrade keras")
    if backend not in (None, "", "tensorflow"):
        return failure("Keras", f"{told} on KERAS_BACKEND={backend}", "unset KERAS_BACKEND: hpcdl trains on TensorFlow")
    return ok("Keras", f"{told} on TensorFlow")


def judge_horovod(packages: Mapping[str, str], said: Mapping[str, Any]) -> Finding:
    """Built against this TensorFlow, and with MPI, by which `hpcdl run` starts it."""
    told, tensorflow = packages.get("horovod"), packages.get("tensorflow", "")
    if told is None:
        return ok("Horovod", "none: engine mpi is used (`make install` builds Horovod)")
    rebuild = "`make install` builds it for this environment; or `pip uninstall horovod` and use engine mpi"
    if told == "0.28.1" and tensorflow and not tensorflow.startswith(f"{HOROVOD_TENSORFLOW}."):
        return failure("Horovod", f"{told} with TensorFlow {tensorflow}; it fits {HOROVOD_TENSORFLOW} alone", rebuild)
    if "error" in said:
        return failure("Horovod", f"{told} does not load: {said['error']}", rebuild)
    built = list(said.get("operations", []))
    if said and "MPI" not in built:
        return failure("Horovod", f"{told}, built without MPI: every rank of mpirun would be alone", rebuild)
    return ok("Horovod", f"{told}, built with {', '.join(built)}" if built else told)


def _numbers(told: str) -> tuple[int, ...]:
    return tuple(int(part) for part in told.split(".")[:2] if part.isdigit())
