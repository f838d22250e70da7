"""One shard: its file, its rows of the index, and the record of it that makes it count."""

from __future__ import annotations

import hashlib
from hashlib import file_digest

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from hpcdl.data.shards.encode import BadImage, Stored, encode, relative, text
from hpcdl.data.shards.files import describe, not_written, to_json, to_npy, unfinished, write
from hpcdl.data.shards.format import Format
from hpcdl.data.shards.index import INDEX
from hpcdl.data.shards.manifest import File, Remark, Shard
from hpcdl.data.shards.plan import Job, Task
from hpcdl.data.shards.source import load_source, splits
from hpcdl.data.shards.tfrecord import HEADER, example, record
from hpcdl.data.shards.workers import Counts, Tick
from hpcdl.errors import DataError


class Part(BaseModel):
    """What came of one shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: Shard
    rows: File
    skipped: list[Remark]
    converted: list[Remark]


def write_shard(job: Job, task: Task, tick: Tick) -> tuple[Part, bool]:
    """One shard, its rows of the index and its record; or what an earlier call has made of them.

    Args:
        job: what all shards share.
        task: which.
        tick: is told how far it is.

    Returns:
        The record, and whether an earlier call wrote it.

    Raises:
        DataError: the source has changed, or a file cannot be written.
    """
    places = job.places(task)
    part = _written(job, task)
    if part is not None:
        tick(Counts(len(places), len(part.skipped), len(places)))
        return part, True
    images = load_source(job.source, job.path, job.subset)
    split = dict(splits(images))[task[0]]
    if len(split) != job.samples[task[0]]:
        raise DataError(f"{job.path}, which has changed", "files that stay while they are read", "start again")
    rows, skipped, converted = [], [], []
    digest, size = hashlib.sha256(), 0
    path = job.shard(task)
    try:
        with unfinished(path) as file:
            for done, place in enumerate(places.tolist(), start=1):
                name = relative(images, split.name(place))
                try:
                    stored = encode(images, split, place, job.encoding)
                except BadImage as error:
                    skipped.append(Remark(name=name, reason=str(error)))
                else:
                    label = int(split.labels[place])
                    data, offset = _record(stored, name, label, text(images.classes[label]), job.encoding.format)
                    file.write(data)
                    digest.update(data)
                    rows.append((task[1], size + offset, len(stored.data), label, *stored.shape))
                    size += len(data)
                    if stored.converted:
                        converted.append(Remark(name=name, reason=stored.converted))
                tick(Counts(done, len(skipped)))
        index = to_npy(np.array(rows, INDEX))
        write(job.rows(task), index)
        part = Part(
            shard=Shard(name=path.name, bytes=size, samples=len(rows), sha256=digest.hexdigest()),
            rows=describe(job.rows(task).name, index),
            skipped=skipped,
            converted=converted,
        )
        write(job.record(task), to_json(part.model_dump(mode="json")))
    except OSError as error:
        raise not_written(path, error) from None
    return part, False


def _written(job: Job, task: Task) -> Part | None:
    """The record of a shard that is whole; one without some images counts only where that is wanted."""
    try:
        part = Part.model_validate_json(job.record(task).read_bytes())
        for path, file in ((job.shard(task), part.shard), (job.rows(task), part.rows)):
            with path.open("rb") as opened:
                if path.stat().st_size != file.bytes or file_digest(opened, "sha256").hexdigest() != file.sha256:
                    return None
    except (OSError, ValidationError):
        return None
    return part if job.skip or not part.skipped else None


def _record(stored: Stored, name: str, label: int, text: str, kind: Format) -> tuple[bytes, int]:
    """A record with an image, and where in it the image's bytes begin."""
    height, width, channels = stored.shape
    features: dict[str, int | bytes] = {
        "image/height": height,
        "image/width": width,
        "image/channels": channels,
        "image/class/label": label,
        "image/class/text": text.encode(),
        "image/filename": name.encode(),
        "image/format": kind.encode(),
    }
    data = example(features, last=("image/encoded", stored.data))
    return record(data), HEADER + len(data) - len(stored.data)
