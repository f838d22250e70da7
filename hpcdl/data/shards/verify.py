"""Every byte of a set against what is known of it: digests for shards, decoding for image files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest
from pathlib import Path

import numpy as np

from hpcdl.data.images import Encoded, ImageSet
from hpcdl.data.inspect_images import damaged
from hpcdl.data.shards.format import DIGEST, MANIFEST, PARTS, PLAN, SplitName
from hpcdl.data.shards.index import Rows, index_fault
from hpcdl.data.shards.manifest import File, Manifest, Shard, SplitRecord, parse_manifest
from hpcdl.data.shards.source import load_source, splits
from hpcdl.data.shards.tfrecord import Record, Torn, parse_example, read_records
from hpcdl.data.shards.workers import Counts, Tick, spread
from hpcdl.data.sources.registry import SOURCES
from hpcdl.data.subset import ALL
from hpcdl.errors import DataError

LINE = re.compile(rb"([0-9a-f]{64})  manifest\.json\n")
CHUNK = 256
"""Images or records between two reports."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written."""

    file: str
    what: str


@dataclass(frozen=True)
class Report:
    """What was looked at, and what was found."""

    findings: list[Finding]
    files: int = 0
    images: int = 0


Watch = Callable[[Counts, int], None]
"""(how far it is, of how many images)."""


def verify_shards(path: Path, workers: int, watch: Watch) -> Report:
    """Computes every digest of a folder of shards anew, and compares the index with the records.

    Args:
        path: the folder.
        workers: processes.
        watch: is told now and then how far it is.
    """
    manifest, findings = _manifest(path)
    if manifest is None:
        return Report(findings)
    indexes = {name: _index(path, split, manifest) for name, split in manifest.splits}
    findings += [finding for found in indexes.values() for finding in found]
    fit = {name for name, found in indexes.items() if not found}
    tasks = [(name, number) for name, split in manifest.splits for number in range(len(split.shards))]
    total = manifest.train.samples + manifest.test.samples
    found = spread(partial(_shard, path, manifest, fit), tasks, workers, lambda counts: watch(counts, total))
    findings += [finding for some in found for finding in some]
    known = {MANIFEST, DIGEST, *(file.name for file in manifest.parts)}
    surplus = sorted(entry.name for entry in path.iterdir() if entry.name not in known)
    findings += [Finding(name, "a file that the manifest does not name") for name in surplus]
    return Report(findings, len(known), total)


def verify_source(source: str, path: Path, workers: int, watch: Watch) -> Report:
    """Loads a set, decodes every image that is stored as a file, and compares labels with the classes.

    Args:
        source: a key of SOURCES.
        path: what `locate` answered.
        workers: processes.
        watch: is told now and then how far it is.
    """
    try:
        SOURCES[source].check(path)
        images = load_source(source, path, ALL)
        total = len(images.train) + len(images.test)
        tasks = [
            (name, start, min(start + CHUNK, len(split)))
            for name, split in splits(images)
            for start in range(0, len(split), CHUNK)
        ]
        found = spread(partial(_some, source, path), tasks, workers, lambda counts: watch(counts, total))
    except DataError as error:
        return Report([Finding(str(path), f"{error.received}; expected: {error.expected}")])
    finally:
        load_source.cache_clear()
    return Report([finding for some in found for finding in some], images=total)


def _manifest(path: Path) -> tuple[Manifest | None, list[Finding]]:
    """The manifest, if it can be read, and what is wrong with it and its digest."""
    missing = [name for name in (MANIFEST, DIGEST) if not (path / name).is_file()]
    if missing and (path / PARTS / PLAN).is_file():
        return None, [Finding(name, "not written yet: `hpcdl data prepare` was stopped") for name in missing]
    findings = [Finding(name, "missing") for name in missing]
    if MANIFEST in missing:
        return None, findings
    content = (path / MANIFEST).read_bytes()
    if DIGEST not in missing:
        line = LINE.fullmatch((path / DIGEST).read_bytes())
        digest = hashlib.sha256(content).hexdigest()
        if line is None:
            findings.append(Finding(DIGEST, f"not one line: SHA-256, two spaces, {MANIFEST}"))
        elif line[1].decode() != digest:
            findings.append(Finding(MANIFEST, f"SHA-256 {digest}, but {DIGEST} says {line[1].decode()}"))
    try:
        return parse_manifest(content, path / MANIFEST), findings
    except DataError as error:
        others = [finding for finding in findings if finding.file != MANIFEST]
        return None, [*others, Finding(MANIFEST, f"{error.received}; no other file can be judged without it")]


def _index(path: Path, split: SplitRecord, manifest: Manifest) -> list[Finding]:
    """What is wrong with an index."""
    faults = _faults(path, split.index)
    if not faults:
        try:
            fault = index_fault(_rows(path, split), split, manifest)
        except ValueError as error:
            fault = str(error)
        faults = [fault] if fault else []
    return [Finding(split.index.name, "; ".join(faults))] if faults else []


def _rows(path: Path, split: SplitRecord) -> Rows:
    rows: Rows = np.load(path / split.index.name, allow_pickle=False)
    return rows


def _faults(path: Path, file: File) -> list[str]:
    """How a file differs from what the manifest says of it."""
    try:
        with (path / file.name).open("rb") as opened:
            size = (path / file.name).stat().st_size
            digest = file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        return ["missing"]
    except OSError as error:
        return [f"cannot be read: {error.strerror}"]
    faults = []
    if size < file.bytes:
        faults.append(f"truncated: {size:,} of {file.bytes:,} bytes")
    elif size > file.bytes:
        faults.append(f"{size - file.bytes:,} surplus bytes after {file.bytes:,}")
    if digest != file.sha256:
        faults.append(f"SHA-256 {digest}, and not {file.sha256}")
    return faults


def _shard(
    path: Path, manifest: Manifest, fit: set[SplitName], task: tuple[SplitName, int], tick: Tick
) -> list[Finding]:
    """What is wrong with a shard, or with its rows of the index, if the index itself is as it was written."""
    name, number = task
    split = dict(manifest.splits)[name]
    shard = split.shards[number]
    faults = _faults(path, shard)
    findings = []
    if faults and (path / shard.name).is_file():
        faults.append(_content(path, manifest, shard))
    elif not faults and name in fit:
        rows = _rows(path, split)
        findings = _compare(path / shard.name, rows[rows["shard"] == number], split.index.name, manifest, tick)
    if faults:
        findings = [Finding(shard.name, "; ".join(faults))]
    tick(Counts(shard.samples, len(findings)))
    return findings


def _content(path: Path, manifest: Manifest, shard: Shard) -> str:
    """What a shard holds that is not as it was written."""
    with (path / shard.name).open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    for other in manifest.parts:
        if other.sha256 == digest and other.name != shard.name:
            return f"it is {other.name} under this name"
    count = 0
    try:
        for _ in read_records(path / shard.name, checked=True):
            count += 1
    except Torn as torn:
        return str(torn)
    return f"{count} whole records, which are not the {shard.samples} that were written"


def _compare(path: Path, rows: Rows, index: str, manifest: Manifest, tick: Tick) -> list[Finding]:
    """The first difference between a shard's records and its rows of the index."""
    told = rows[["offset", "length", "label", "height", "width", "channels"]].tolist()
    count = 0
    try:
        for record in read_records(path, checked=False):
            held = _held(record, manifest.store)
            if count < len(told) and told[count] != held:
                what = "offset, length, label, height, width and channels"
                return [Finding(index, f"{what} of {path.name} record {count} are {told[count]}, and not {held}")]
            count += 1
            if count % CHUNK == 0:
                tick(Counts(count))
    except Torn as torn:
        return [Finding(path.name, str(torn))]
    except (ValueError, KeyError) as error:
        return [Finding(path.name, f"record {count} is no image of this set: {error}")]
    return [] if count == len(told) else [Finding(path.name, f"{count} records, and {len(told)} in the index")]


def _held(record: Record, store: str) -> tuple[int, ...]:
    """What a record says of its image, as a row of the index does.

    Raises:
        ValueError, KeyError: it is no Example with such an image.
    """
    features = parse_example(record.data)
    image, kind = features["image/encoded"], features["image/format"]
    numbers = [features[f"image/{name}"] for name in ("class/label", "height", "width", "channels")]
    if not (isinstance(image, range) and isinstance(kind, range)):
        raise ValueError("its image or format are not bytes")
    if record.data[kind.start : kind.stop] != store.encode():
        raise ValueError(f"not stored as {store}")
    return (record.offset + image.start, len(image), *(number for number in numbers if isinstance(number, int)))


def _some(source: str, path: Path, task: tuple[SplitName, int, int], tick: Tick) -> list[Finding]:
    """What is wrong with some images of a source."""
    name, start, stop = task
    images = load_source(source, path, ALL)
    split = dict(splits(images))[name]
    places = range(start, stop)
    findings = list(_labels(images, name, places))
    if isinstance(split, Encoded):
        findings += [Finding(file, why) for file, why in damaged(split, places)]
    tick(Counts(len(places), len(findings)))
    return findings


def _labels(images: ImageSet, name: SplitName, places: Iterable[int]) -> Iterable[Finding]:
    split = dict(splits(images))[name]
    for place in places:
        if not 0 <= split.labels[place] < len(images.classes):
            yield Finding(split.name(place), f"label {split.labels[place]} of {len(images.classes)} classes")
