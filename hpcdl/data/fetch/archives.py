"""The published data sets: where their files are, and how a right file is told from any other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, BinaryIO

import yaml

BLOCK = 1 << 18
"""Bytes that are read at once."""


@dataclass(frozen=True)
class ArchiveFile:
    """One published file, and how it is told from any other."""

    name: str
    size: int
    """Bytes."""
    md5: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.size:,} bytes with md5 {self.md5} and sha256 {self.sha256}"

    def fault(self, content: BinaryIO) -> str | None:
        """What tells a content from the published file, or None where it is that file.

        Args:
            content: read from where it stands to its end.
        """
        sums = [hashlib.new(kind, usedforsecurity=False) for kind in ("md5", "sha256")]
        size = 0
        while block := content.read(BLOCK):
            size += len(block)
            for one in sums:
                one.update(block)
        if size != self.size:
            return f"{size:,} bytes instead of {self.size:,}"
        for one in sums:
            if one.hexdigest() != getattr(self, one.name):
                return f"{one.name} {one.hexdigest()} instead of {getattr(self, one.name)}"
        return None


@dataclass(frozen=True)
class Archive:
    """A data set as it is published."""

    name: str
    title: str
    terms: str
    citation: str
    folder: str = "."
    """Below the folder of all sets, where `hpcdl data list` looks."""
    addresses: tuple[str, ...] = ()
    """Each is followed by a file's name."""
    files: tuple[ArchiveFile, ...] = ()
    manual: str | None = None
    """What a person does where nobody may download without an account; None: it can be fetched."""


@cache
def archives() -> dict[str, Archive]:
    """The published data sets by name, as archives.yaml lists them."""
    document = yaml.safe_load((files("hpcdl.data.fetch") / "archives.yaml").read_text(encoding="utf-8"))
    return {name: _archive(name, entry) for name, entry in document.items()}


def _archive(name: str, entry: dict[str, Any]) -> Archive:
    listed = tuple(ArchiveFile(file, **sums) for file, sums in entry.pop("files", {}).items())
    return Archive(name, files=listed, addresses=tuple(entry.pop("addresses", ())), **entry)
