"""A checkpoint's folder: complete or absent, and never taken for whole where one bit of it has changed.

    checkpoints/update-00001200/
        manifest.json   every file's bytes and SHA-256, and the SHA-256 of all that the manifest itself says
        …               the files

What is written is written beside, with fsync, and renamed; what is not valid is renamed too, and stays.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from hpcdl.errors import CheckpointError

SCHEMA = 1
MANIFEST, WEIGHTS = "manifest.json", "model.weights.h5"
NAME = re.compile(r"update-(\d+)")
ASIDE = ".invalid"


@dataclass(frozen=True)
class Checkpoint:
    """One that is whole.

    Attributes:
        path: its folder.
        update: how many updates had been made.
        score: what tells the best one, the higher the better; None where nothing was evaluated.
    """

    path: Path
    update: int
    score: float | None


def write(folder: Path, update: int, fill: Callable[[Path], None], score: float | None = None) -> Checkpoint:
    """Writes a checkpoint; one that stands there already is left as it is.

    Args:
        folder: of all checkpoints; made where it is not there.
        update: how many updates have been made.
        fill: writes the files into the folder that it is given.
        score: see Checkpoint.

    Raises:
        OSError: the file system refuses; nothing of this checkpoint is left then, and no other is touched.
    """
    path = folder / f"update-{update:08d}"
    if path.exists() and not problems(path):
        return _read(path)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{path.name}.{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        fill(beside)
        files = {file.name: _facts(file) for file in sorted(beside.iterdir())}
        created = datetime.now(UTC).isoformat(timespec="seconds")
        body = {"schema": SCHEMA, "update": update, "score": score, "created": created, "files": files}
        (beside / MANIFEST).write_text(_sealed(body), encoding="ascii")
        for file in [*beside.iterdir(), beside]:
            _sync(file)
        if path.exists():
            set_aside(path)
        beside.rename(path)
        _sync(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Checkpoint(path, update, score)


def problems(path: Path) -> list[str]:
    """What is wrong with a checkpoint: nothing, and it is as it was written."""
    try:
        text = (path / MANIFEST).read_text(encoding="ascii")
        body = json.loads(text)
        if text != _sealed({key: value for key, value in body.items() if key != "sha256"}):
            return [f"{MANIFEST} is not as it was written"]
        if body["schema"] != SCHEMA:
            return [f"{MANIFEST} has schema {body['schema']}, and this hpcdl reads {SCHEMA}"]
        if path.name.split(".")[0] != f"update-{body['update']:08d}":
            return [f"{MANIFEST} is of update {body['update']}"]
        return [told for name, facts in body["files"].items() for told in _differs(path / name, facts)]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no manifest"
        return [f"{MANIFEST} cannot be read: {reason}"]


def newest(folder: Path) -> tuple[Checkpoint | None, dict[Path, list[str]]]:
    """The newest valid checkpoint, and what is wrong with each newer one, which is renamed and so set aside."""
    refused: dict[Path, list[str]] = {}
    for path in sorted(_all(folder), key=_update, reverse=True):
        found = problems(path)
        if not found:
            return _read(path), refused
        refused[set_aside(path)] = found
    return None, refused


def latest_update(folder: Path) -> int:
    """Of the newest checkpoint, valid or not; 0 where there is none."""
    return max(map(_update, _all(folder)), default=0)


def chosen(path: Path) -> Checkpoint:
    """The checkpoint of a folder that the user names.

    Raises:
        CheckpointError: it is not valid.
    """
    found = problems(path)
    if found:
        raise CheckpointError(f"{path}: {'; '.join(found)}", "a whole checkpoint", "take another, or --resume auto")
    return _read(path)


def pick(folder: Path, which: str) -> Checkpoint:
    """The newest or the best valid checkpoint of a folder, or the one that is named; nothing is renamed.

    Args:
        folder: of all checkpoints.
        which: newest, best, a checkpoint's name or a path.

    Raises:
        CheckpointError: there is none, or the one that is named is not valid.
    """
    if which not in ("newest", "best"):
        return chosen(folder / which if NAME.fullmatch(which) else Path(which))
    valid = [_read(path) for path in sorted(_all(folder), key=_update) if not problems(path)]
    if which == "best":
        valid = [each for each in valid if each.score is not None]
    if not valid:
        why = "; best needs checkpoint.every_epochs and train.evaluate" if which == "best" else ""
        raise CheckpointError(f"{folder} without a whole checkpoint", f"the {which} one{why}", "name another run")
    return max(valid, key=lambda each: (each.score or 0.0, each.update)) if which == "best" else valid[-1]


def set_aside(path: Path) -> Path:
    """Renames a checkpoint that is not valid, so that nobody takes it; answers the new path."""
    number = 0
    while (aside := path.with_name(path.name + ASIDE + (f".{number}" if number else ""))).exists():
        number += 1
    return path.rename(aside)


def prune(folder: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints and the best one, and what a killed process left half-written."""
    paths = sorted(_all(folder), key=_update)
    read = {path: _score(path) for path in paths}
    scored = [path for path in paths if read[path] is not None]
    best = [max(scored, key=lambda path: read[path] or 0.0)] if scored else []
    for path in paths:
        if path not in (*paths[-keep:], *best):
            # Renamed first: half a checkpoint must not have a checkpoint's name.
            going = path.rename(path.with_name(f".{path.name}.gone"))
            shutil.rmtree(going, ignore_errors=True)
    for path in folder.glob(".update-*"):
        shutil.rmtree(path, ignore_errors=True)


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if NAME.fullmatch(path.name)] if folder.is_dir() else []


def _update(path: Path) -> int:
    return int(path.name.split("-")[1])


def _read(path: Path) -> Checkpoint:
    body = json.loads((path / MANIFEST).read_bytes())
    return Checkpoint(path, body["update"], body["score"])


def _score(path: Path) -> float | None:
    try:
        score: float | None = _read(path).score
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return score


def _sealed(body: Mapping[str, Any]) -> str:
    """The manifest's text, of which any other text is no manifest."""
    plain = json.dumps(body, sort_keys=True)
    return json.dumps({**body, "sha256": sha256(plain.encode()).hexdigest()}, sort_keys=True, indent=1) + "\n"


def _facts(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        return {"bytes": file.stat().st_size, "sha256": file_digest(opened, "sha256").hexdigest()}


def _differs(file: Path, facts: Mapping[str, Any]) -> list[str]:
    if not file.is_file():
        return [f"{file.name} is missing"]
    if file.stat().st_size != facts["bytes"]:
        return [f"{file.name} has {file.stat().st_size} bytes, and not {facts['bytes']}"]
    return [] if _facts(file) == facts else [f"{file.name} has another SHA-256"]


def _sync(path: Path) -> None:
    """Waits until a file, or a folder's names, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
