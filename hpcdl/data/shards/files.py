"""Files that are whole or absent: each is written among the parts, flushed to the disk, and then gets its name."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hpcdl.data.shards.format import PARTS
from hpcdl.data.shards.index import Rows
from hpcdl.data.shards.manifest import File
from hpcdl.errors import DataError

UNFINISHED = ".tmp"
"""How the name of a file ends that is not whole yet."""


@contextmanager
def unfinished(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole and on the disk; until then it lies among the parts.

    Args:
        path: in the folder of shards, or among its parts.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    parts = path.parent if path.parent.name == PARTS else path.parent / PARTS
    beside = parts / f"{path.name}.{os.getpid()}{UNFINISHED}"
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        beside.unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    """Writes a file at once, as `unfinished` does."""
    with unfinished(path) as file:
        file.write(content)


def remove_unfinished(parts: Path) -> None:
    """Removes what a process that was killed has left among the parts."""
    for path in parts.glob(f"*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def not_written(path: Path, error: OSError) -> DataError:
    """The error of a file that could not be written, for the person who mends it."""
    return DataError(
        f"{path}: {error.strerror}",
        "room and permission to write it",
        "free space and run the same line again: finished shards are kept",
    )


def to_json(document: dict[str, Any]) -> bytes:
    """A document as JSON, the same bytes for the same values in the same order."""
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def to_npy(rows: Rows) -> bytes:
    """Rows of an index in NumPy's .npy format."""
    file = io.BytesIO()
    np.save(file, rows, allow_pickle=False)
    return file.getvalue()


def describe(name: str, content: bytes) -> File:
    """What the manifest says of a file with that content."""
    return File(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
