"""Shards: images in a few large TFRecord files, an index that tells where each lies, and a manifest of all files.

A folder of shards holds:

- `train-00000-of-00012.tfrecord` …: tf.train.Example messages that any TFRecord reader can use (`FEATURES`);
- `train.index.npy`: one row of `INDEX` an image, so that one read gets an image's bytes without parsing;
- `manifest.json`: what was prepared, how, and name, bytes and SHA-256 of every other file;
- `manifest.sha256`: the manifest's own SHA-256, for `sha256sum --check`.
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpcdl.data.images import Encoded, Images, ImageSet
from hpcdl.data.subset import Subset, narrow
from hpcdl.errors import DataError

SCHEMA = 1
MANIFEST, DIGEST = "manifest.json", "manifest.sha256"
PARTS, PLAN = ".parts", "plan.json"
"""Where `hpcdl data prepare` keeps what it has done so far, until all is done."""
Format = Literal["jpeg", "pixels"]
"""How images are stored; pixels: uint8, row by row."""
SplitName = Literal["train", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "test")
FEATURES = {
    "image/height": "int64",
    "image/width": "int64",
    "image/channels": "int64",
    "image/class/label": "int64, from 0",
    "image/class/text": "the class's name",
    "image/filename": "the file in the source, or the place in its split",
    "image/format": "jpeg, or pixels: uint8, row by row",
    "image/encoded": "the image's bytes",
}
INDEX = np.dtype(
    [
        ("shard", "<i4"),
        ("offset", "<i8"),
        ("length", "<i8"),
        ("label", "<i4"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("channels", "<i4"),
    ]
)
"""shard: its number in the split; offset, length: of the image's bytes in the shard's file."""
IN_MEMORY = 4 * 2**30
"""Bytes of pixels of one shape that are read at once; more stay in their files."""
CHUNK = 1024
MEND = "`hpcdl data verify` tells what is damaged; copy the folder again, or prepare it anew"

Rows = npt.NDArray[np.void]
"""(images,) of INDEX."""


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
        return [("train", self.train), ("test", self.test)]

    @property
    def parts(self) -> list[File]:
        """All files but the manifest and its digest."""
        return [file for _, split in self.splits for file in (*split.shards, split.index)]


def shard_name(split: str, number: int, shards: int) -> str:
    """train-00003-of-00012.tfrecord."""
    return f"{split}-{number:05d}-of-{shards:05d}.tfrecord"


def index_name(split: str) -> str:
    """train.index.npy."""
    return f"{split}.index.npy"


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
        _check_size(path / file.name, file.bytes)


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


def read_index(path: Path, split: SplitRecord, manifest: Manifest) -> Rows:
    """A split's index.

    Args:
        path: the folder.
        split: train or test of the manifest.
        manifest: of the folder.

    Raises:
        DataError: it cannot be read, or does not fit the manifest.
    """
    file = path / split.index.name
    _check_size(file, split.index.bytes)
    try:
        rows = np.load(file, mmap_mode="r", allow_pickle=False) if split.samples else np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: {error}", "an index in NumPy's .npy format", MEND) from None
    fault = index_fault(rows, split, manifest)
    if fault:
        raise DataError(f"{file}: {fault}", "an index that fits the manifest", MEND)
    return cast(Rows, rows)


def index_fault(rows: Rows, split: SplitRecord, manifest: Manifest) -> str | None:
    """Why an index does not fit the manifest; None where it does."""
    classes = len(manifest.classes)
    if rows.dtype != INDEX or rows.shape != (split.samples,):
        return f"an array of {rows.dtype} and shape {rows.shape}, and not {split.samples} rows of the index"
    samples = [shard.samples for shard in split.shards]
    if not np.array_equal(rows["shard"], np.repeat(np.arange(len(samples)), samples)):
        return "the shards of its rows are not those of the manifest"
    ends = np.array([shard.bytes for shard in split.shards], np.int64)[rows["shard"]]
    if ((rows["offset"] < 0) | (rows["length"] < 0) | (rows["length"] > ends - rows["offset"])).any():
        return "an image beyond its shard"
    if ((rows["label"] < 0) | (rows["label"] >= classes)).any():
        return f"a label that is not from 0 to {classes - 1}"
    if np.bincount(rows["label"], minlength=classes).tolist() != split.by_class:
        return "the samples of its classes are not those of the manifest"
    pixels = rows["height"].astype(np.int64) * rows["width"] * rows["channels"]
    if manifest.store == "pixels" and not np.array_equal(pixels, rows["length"]):
        return "an image whose length is not height x width x channels"
    return None


def load(path: Path, subset: Subset) -> ImageSet:
    """The set, in the order of the shards; its images are read when they are needed.

    Pixels of one shape are read into memory, unless they are more than IN_MEMORY.

    Args:
        path: what `find` answered.
        subset: what is wanted of it.

    Raises:
        DataError: what is read at once does not fit the manifest; see also `wanted_classes`.
    """
    manifest = read_manifest(path)
    for file in manifest.parts:
        _check_size(path / file.name, file.bytes)
    train, test = (_split(path, split, manifest) for _, split in manifest.splits)
    images = ImageSet(
        name=manifest.source,
        train=train,
        test=test,
        classes=tuple(manifest.classes),
        path=str(path),
        synthetic=manifest.synthetic,
        mean=tuple(manifest.mean),
        std=tuple(manifest.std),
    )
    return _in_memory(narrow(images, subset))


def _split(path: Path, split: SplitRecord, manifest: Manifest) -> Encoded:
    rows = read_index(path, split, manifest)
    reader = Reader(path, split, rows)
    shapes = None
    if manifest.store == "pixels":
        shapes = np.stack([rows["height"], rows["width"], rows["channels"]], axis=1).astype(np.int32)
    return Encoded(rows["label"].astype(np.int32), reader.read, reader.name, shapes)


def _in_memory(images: ImageSet) -> ImageSet:
    """The set with pixels in memory, where all have one shape and are not too many; else as it is."""
    train, test = images.train, images.test
    if not (isinstance(train, Encoded) and isinstance(test, Encoded)) or train.shapes is None or test.shapes is None:
        return images
    shapes = np.unique(np.concatenate([train.shapes, test.shapes]), axis=0)
    if len(shapes) != 1 or shapes[0].prod(dtype=np.int64) * (len(train) + len(test)) > IN_MEMORY:
        return images
    return replace(images, train=_read_pixels(train, shapes[0]), test=_read_pixels(test, shapes[0]))


def _read_pixels(split: Encoded, shape: npt.NDArray[np.int32]) -> Images:
    pixels = np.empty((len(split), *shape), np.uint8)
    for start in range(0, len(split), CHUNK):
        some = np.arange(start, min(start + CHUNK, len(split)))
        pixels[some] = np.frombuffer(b"".join(split.read(some)), np.uint8).reshape(-1, *shape)
    return Images(pixels, split.labels)


class Reader:
    """Reads images of one split by their place in its index; from many threads too."""

    def __init__(self, path: Path, split: SplitRecord, rows: Rows) -> None:
        self._paths = [path / shard.name for shard in split.shards]
        self._first = np.cumsum([0, *(shard.samples for shard in split.shards)])
        self._rows = rows
        # Half of what this process may have open, for the rest of it opens files too.
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._open = lru_cache(maxsize=None if limit == resource.RLIM_INFINITY else max(1, limit // 2))(_Opened)

    def read(self, places: npt.NDArray[np.int64]) -> list[bytes]:
        """The stored bytes of images.

        Raises:
            DataError: a shard cannot be read, or is shorter than it was.
        """
        return [self._one(int(place)) for place in places]

    def name(self, place: int) -> str:
        """Shard and record, from 0."""
        shard = int(self._rows["shard"][place])
        return f"{self._paths[shard].name} record {place - self._first[shard]}"

    def _one(self, place: int) -> bytes:
        row = self._rows[place]
        path, length = self._paths[row["shard"]], int(row["length"])
        try:
            data = self._open(path).read(length, int(row["offset"]))
        except OSError as error:
            raise DataError(f"{path.parent / self.name(place)}: {error.strerror}", "a readable shard", MEND) from None
        if len(data) < length:
            raise DataError(
                f"{path.parent / self.name(place)}: the shard ends after {len(data):,} of its {length:,} bytes",
                "a shard as long as it was written",
                MEND,
            )
        return data


class _Opened:
    """A file that is closed when nobody holds it any more: another thread may be reading what the cache gives up."""

    def __init__(self, path: Path) -> None:
        self._file = -1
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, length: int, offset: int) -> bytes:
        """As many bytes as asked for, or fewer at the end of the file."""
        data = os.pread(self._file, length, offset)
        while 0 < len(data) < length:  # a signal, or more than one read may give
            more = os.pread(self._file, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)


def _check_size(path: Path, expected: int) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DataError(f"no file {path}", "the file that the manifest names", MEND) from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "a readable file", "check permissions") from None
    if size != expected:
        kind = "truncated" if size < expected else "too long"
        raise DataError(f"{path} with {size:,} bytes ({kind})", f"{expected:,} bytes", MEND)
