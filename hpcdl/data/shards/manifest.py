"""The manifest of a folder of shards: what was prepared, how, and name, bytes and SHA-256 of every other file."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpcdl.data.shards.format import (
    DIGEST,
    MANIFEST,
    MEND,
    PARTS,
    PLAN,
    Format,
    SplitName,
    index_name,
    shard_name,
)
from hpcdl.errors import DataError

SCHEMA = 1


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class File(_Closed):
    """A file beside the manifest."""

    name: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Shard(File):
    """A TFRecord file."""

    samples: int = Field(ge=0)


class Remark(_Closed):
    """An image of which something must be told."""

    name: str
    reason: str


class SplitRecord(_Closed):
    """What was prepared of one split."""

    samples: int
    by_class: list[int]
    """Samples of each class, in the order of `classes`."""
    order: str
    """How the samples follow each other: as in the source, or shuffled."""
    height: tuple[int, int] | None
    """Smallest and largest; null without samples."""
    width: tuple[int, int] | None
    shards: list[Shard]
    index: File
    skipped: list[Remark]
    """Images that were left out, and why."""
    converted: list[Remark]
    """Images whose colours, or whose format by their name, were others, and which."""


class Manifest(_Closed):
    """manifest.json."""

    format: Literal["hpcdl-shards"] = "hpcdl-shards"
    schema_: Literal[1] = Field(1, alias="schema")
    source: str
    origin: str
    """A sentence for reports."""
    synthetic: bool
    classes: list[str]
    mean: list[float]
    std: list[float]
    store: Format
    size: int | None
    """What the short side of larger images became."""
    quality: int | None
    """Of JPEG files that were encoded anew."""
    seed: int
    shard_mb: float
    """MiB a shard that were aimed at."""
    files: str
    """SHA-256 of the source's names and labels, or of its pixels and labels."""
    pillow: str
    """Version of what decoded and encoded."""
    train: SplitRecord
    test: SplitRecord

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        for name, split in self.splits:
            shards = [shard.name for shard in split.shards]
            if shards != [shard_name(name, number, len(shards)) for number in range(len(shards))]:
                raise ValueError(f"the shards of the {name} split are not {shard_name(name, 0, len(shards))} …")
            if split.index.name != index_name(name):
                raise ValueError(f"the index of the {name} split is not called {index_name(name)}")
            counts = [split.samples, sum(split.by_class), sum(shard.samples for shard in split.shards)]
            if len(set(counts)) > 1 or len(split.by_class) != len(self.classes):
                raise ValueError(f"the {name} split's samples, those of its classes and of its shards differ")
        return self

    @property
    def splits(self) -> list[tuple[SplitName, SplitRecord]]:
        """Both splits by name."""
        return [("train", self.train), ("test", self.test)]

    @property
    def parts(self) -> list[File]:
        """All files but the manifest and its digest."""
        return [file for _, split in self.splits for file in (*split.shards, split.index)]


def digest_line(manifest: bytes) -> str:
    """What manifest.sha256 says of a manifest."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n"


def find(path: Path) -> Path | None:
    """The path, if it is a folder of shards, be it damaged or not yet whole; None otherwise."""
    try:
        if (path / PARTS / PLAN).is_file() or (path / DIGEST).is_file():
            return path
        marked = re.search(rb'"format":\s*"hpcdl-shards"', (path / MANIFEST).read_bytes()[:1000])
    except OSError:
        return None
    return path if marked else None


def check(path: Path) -> None:
    """Refuses a folder whose manifest is damaged, or with a missing, truncated or too long file; hashes no shard.

    Raises:
        DataError: as said.
    """
    manifest = read_manifest(path)
    for file in manifest.parts:
        check_size(path / file.name, file.bytes)


def check_size(path: Path, expected: int) -> None:
    """Refuses a file that is missing or has another number of bytes than the manifest says.

    Raises:
        DataError: as said.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DataError(f"no file {path}", "the file that the manifest names", MEND) from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "a readable file", "check permissions") from None
    if size != expected:
        kind = "truncated" if size < expected else "too long"
        raise DataError(f"{path} with {size:,} bytes ({kind})", f"{expected:,} bytes", MEND)


def read_manifest(path: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        DataError: it is missing, not what its digest says, or of another version.
    """
    try:
        content = (path / MANIFEST).read_bytes()
        digest = (path / DIGEST).read_bytes()
    except FileNotFoundError as error:
        if (path / PARTS / PLAN).is_file():
            raise DataError(
                f"{path}: shards that are not all written yet",
                "a folder that is whole",
                "run the same `hpcdl data prepare` again: it goes on",
            ) from None
        raise DataError(f"no file {error.filename}", "a folder that `hpcdl data prepare` wrote", MEND) from None
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}", "a readable file", "check its permissions") from None
    if digest != digest_line(content).encode():
        raise DataError(f"{path / MANIFEST}, which does not match {DIGEST}", "the manifest as it was written", MEND)
    return parse_manifest(content, path / MANIFEST)


def parse_manifest(content: bytes, path: Path) -> Manifest:
    """A manifest's bytes; the path is for messages.

    Raises:
        DataError: they are not a manifest of this version.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {place}: {first['msg']}", f"a manifest of schema {SCHEMA}", MEND) from None
