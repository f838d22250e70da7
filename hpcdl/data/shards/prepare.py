"""Images of any source into shards, by several processes; what is done stays done, whenever it is stopped.

Which images a shard gets depends on the source and the request alone. A process writes a whole shard beside its
place, renames it, and then writes its rows of the index and a record of it to `.parts`, which makes it count. When all
are there, the index and the manifest are put together and `.parts` is removed. So the files are the same, to the byte,
however many processes wrote them and however often they were stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import file_digest
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
import PIL
from pydantic import BaseModel, ConfigDict, ValidationError

from hpcdl.data.images import Images, ImageSet, Split
from hpcdl.data.shards.encode import BadImage, Encoding, Stored, encode, relative, text
from hpcdl.data.shards.format import (
    DIGEST,
    INDEX,
    MANIFEST,
    PARTS,
    PLAN,
    SPLITS,
    File,
    Format,
    Manifest,
    Remark,
    Rows,
    Shard,
    SplitName,
    SplitRecord,
    check,
    digest_line,
    find,
    index_name,
    read_manifest,
    shard_name,
)
from hpcdl.data.shards.tfrecord import HEADER, example, record
from hpcdl.data.sources.registry import SOURCES
from hpcdl.data.subset import ALL, Subset
from hpcdl.errors import ConfigError, DataError

SAMPLE = 256
"""Images that are encoded to know how many a shard can hold."""
OVERHEAD = 250
"""About the bytes that a record holds besides its image."""
MOST_SHARDS = 99_999
TOLD = 10
"""Damaged images that an error names."""
OURS = re.compile(
    r"(train|test)-\d{5}-of-\d{5}\.tfrecord|(train|test)\.index\.npy|manifest\.(json|sha256)|" + re.escape(PARTS)
)
"""What `prepare` may leave in its folder."""
SETTINGS = ("source", "store", "size", "quality", "seed", "shard_mb", "classes", "files")
"""What makes two calls the same."""
DIFFERENT = {"classes": "other classes", "files": "other images"}
"""What differs where the values say nothing; else they are shown."""
LOCK, UNFINISHED = "lock", ".tmp"
PERIOD = 0.2
"""Seconds between two looks at how far the work is."""

Task = tuple[SplitName, int]
"""A split, and the number of a shard in it."""


@dataclass(frozen=True)
class Request:
    """What is wanted."""

    source: str
    """A key of SOURCES."""
    path: Path
    """Where it is."""
    out: Path
    subset: Subset = ALL
    store: str = "auto"
    """jpeg, pixels, or auto: jpeg for sources of image files, pixels for those in memory."""
    size: int | None = None
    """The short side of larger images becomes this."""
    quality: int = 95
    """Of JPEG files that are encoded anew."""
    shard_mb: float = 128
    """MiB a shard, about."""
    seed: int = 0
    """Of the order of the training images."""
    skip: bool = False
    """Leave out damaged images instead of refusing the set."""
    workers: int = 1
    overwrite: bool = False
    """Delete what an earlier call left in `out`."""


@dataclass(frozen=True)
class Counts:
    """How far the work is."""

    done: int = 0
    """Images."""
    bad: int = 0
    """Of them, damaged."""
    kept: int = 0
    """Of those done, the ones that an earlier call wrote."""


Tick = Callable[[Counts], None]
Slots = Any
"""Three integers a task, in memory that processes share."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    manifest: Manifest
    before: bool
    """All was there before this call."""
    kept: int
    """Images in shards that an earlier call wrote."""


@dataclass(frozen=True)
class Job:
    """What a process must know to write any of the shards."""

    source: str
    path: Path
    subset: Subset
    out: Path
    encoding: Encoding
    seed: int
    samples: dict[SplitName, int]
    shards: dict[SplitName, int]
    skip: bool

    @property
    def tasks(self) -> list[Task]:
        return [(name, number) for name in SPLITS for number in range(self.shards[name])]

    def shard(self, task: Task) -> Path:
        """Its file."""
        name, number = task
        return self.out / shard_name(name, number, self.shards[name])

    def rows(self, task: Task) -> Path:
        """Its part of the index."""
        return self.out / PARTS / f"{task[0]}-{task[1]:05d}.npy"

    def record(self, task: Task) -> Path:
        """What came of it."""
        return self.rows(task).with_suffix(".json")

    def places(self, task: Task) -> npt.NDArray[np.int64]:
        """The images that it gets, by their place in the split: training images shuffled, test images as they come."""
        name, number = task
        samples, count = self.samples[name], self.shards[name]
        order = _shuffled(samples, self.seed) if name == "train" else np.arange(samples)
        return order[samples * number // count : samples * (number + 1) // count]


class Part(BaseModel):
    """What came of one shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: Shard
    rows: File
    skipped: list[Remark]
    converted: list[Remark]


def prepare(request: Request, watch: Callable[[Counts, int], None]) -> Outcome:
    """Writes a source's images to a folder of shards, or goes on where an earlier call with equal arguments stopped.

    Args:
        request: what is wanted.
        watch: is told now and then how far the work is, and of how many images.

    Raises:
        ConfigError: `out` holds other files, or what other arguments made; a value that cannot be used.
        DataError: of the source; damaged images; the disk is full. Finished shards stay, and a later call goes on.
    """
    SOURCES[request.source].check(request.path)
    images = load_source(request.source, request.path, request.subset)
    try:
        settings = _settings(request, images)
        if not request.overwrite and (found := _finished(request, settings)):
            return found
        counts = None if request.overwrite else _planned(request.out, settings)
        if counts is None:
            counts = _count_shards(request, images, settings)
        job = _job(request, images, settings, counts)
        _refuse_foreign(request, job)
        with _folder(request.out):
            if request.overwrite:
                _clear(request.out)
            _write(request.out / PARTS / PLAN, _json({"format": "hpcdl-shards", "shards": counts, **settings}))
            total = sum(job.samples.values())
            done = spread(partial(write_shard, job), job.tasks, request.workers, lambda counts: watch(counts, total))
            manifest = _finish(job, settings, images, [part for part, _ in done])
        return Outcome(manifest, before=False, kept=sum(part.shard.samples for part, kept in done if kept))
    finally:
        load_source.cache_clear()


def _settings(request: Request, images: ImageSet) -> dict[str, Any]:
    """What the files depend on.

    Raises:
        ConfigError: a value that cannot be used.
        DataError: images whose channels do not allow what is wanted.
    """
    for option, value, lowest, highest in (
        ("--size", request.size, 1, None),
        ("--quality", request.quality, 1, 100),
        ("--workers", request.workers, 1, None),
        ("--seed", request.seed, 0, None),
    ):
        if value is not None and (value < lowest or (highest is not None and value > highest)):
            told = f"from {lowest} to {highest}" if highest else f"at least {lowest}"
            raise ConfigError(f"{option} {value}", told, "correct the value")
    if request.store not in ("auto", "jpeg", "pixels"):
        raise ConfigError(f"--store {request.store}", "auto, jpeg or pixels", "choose one of them")
    if not request.shard_mb > 0:
        raise ConfigError(f"--shard-mb {request.shard_mb}", "MiB a shard, above 0", "correct the value")
    raw = [split for split in (images.train, images.test) if isinstance(split, Images) or split.shapes is not None]
    store = request.store if request.store != "auto" else "pixels" if raw else "jpeg"
    channels = {channels for split in raw for channels in _channels(split)}
    if channels - {1, 3} and (store == "jpeg" or request.size is not None):
        raise DataError(
            f"{request.path}: images of {max(channels - {1, 3})} channels",
            "1 or 3 channels for --store jpeg and for --size",
            "choose --store pixels, without --size",
        )
    return {
        "source": request.source,
        "store": store,
        "size": request.size,
        "quality": request.quality if store == "jpeg" else None,
        "seed": request.seed,
        "shard_mb": float(request.shard_mb),
        "classes": [text(name) for name in images.classes],
        "files": _fingerprint(images),
    }


def _channels(split: Split) -> set[int]:
    if isinstance(split, Images):
        return {split.pixels.shape[3]}
    return set() if split.shapes is None else set(np.unique(split.shapes[:, 2]).tolist())


def _fingerprint(images: ImageSet) -> str:
    """SHA-256 of what tells one source from another: labels, and pixels or names."""
    digest = hashlib.sha256()
    for name, split in splits(images):
        digest.update(f"{name} {len(split)}\n".encode() + split.labels.astype("<i4").tobytes())
        if isinstance(split, Images):
            digest.update(repr(split.pixels.shape).encode() + np.ascontiguousarray(split.pixels).data)
        else:
            for place in range(len(split)):
                digest.update(relative(images, split.name(place)).encode() + b"\0")
    return digest.hexdigest()


def splits(images: ImageSet) -> list[tuple[SplitName, Split]]:
    """Both splits and their names."""
    return [("train", images.train), ("test", images.test)]


def _shuffled(samples: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(samples)


@lru_cache(maxsize=1)
def load_source(source: str, path: Path, subset: Subset) -> ImageSet:
    """A set, loaded once a process until the cache is cleared.

    Raises:
        DataError: as its source's `load`.
    """
    return SOURCES[source].load(path, subset)


def _job(request: Request, images: ImageSet, settings: dict[str, Any], counts: dict[SplitName, int]) -> Job:
    return Job(
        request.source,
        request.path,
        request.subset,
        request.out,
        Encoding(settings["store"], request.size, request.quality),
        request.seed,
        {name: len(split) for name, split in splits(images)},
        counts,
        request.skip,
    )


def _count_shards(request: Request, images: ImageSet, settings: dict[str, Any]) -> dict[SplitName, int]:
    """Shards of each split, by the size of a few of its images, evenly spaced.

    Raises:
        ConfigError: there would be too many.
    """
    encoding = Encoding(settings["store"], request.size, request.quality)
    counts: dict[SplitName, int] = {}
    for name, split in splits(images):
        lengths = []
        for place in np.unique(np.linspace(0, len(split) - 1, SAMPLE).astype(np.int64)) if len(split) else ():
            with suppress(BadImage):
                lengths.append(len(encode(images, split, int(place), encoding).data))
        size = OVERHEAD + (sum(lengths) / len(lengths) if lengths else 0)
        counts[name] = min(len(split), math.ceil(len(split) * size / (request.shard_mb * 2**20)))
    if max(counts.values()) > MOST_SHARDS:
        raise ConfigError(
            f"--shard-mb {request.shard_mb}, which makes {max(counts.values()):,} shards",
            f"at most {MOST_SHARDS:,} of a split",
            "choose larger shards",
        )
    return counts


def _finished(request: Request, settings: dict[str, Any]) -> Outcome | None:
    """What an earlier call with equal arguments has made; None if there is no manifest yet.

    Raises:
        ConfigError: other arguments made it.
        DataError: the manifest is damaged, or a file is missing or of another length.
    """
    out = request.out
    if find(out) is None or not (out / MANIFEST).exists():
        return None
    manifest = read_manifest(out)
    _refuse_other(out, manifest.model_dump(mode="json"), settings)
    check(out)
    shutil.rmtree(out / PARTS, ignore_errors=True)
    return Outcome(manifest, before=True, kept=manifest.train.samples + manifest.test.samples)


def _planned(out: Path, settings: dict[str, Any]) -> dict[SplitName, int] | None:
    """Shards of each split, as an earlier call with equal arguments has planned them; None if none has.

    Raises:
        ConfigError: other arguments planned it.
    """
    try:
        plan = json.loads((out / PARTS / PLAN).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        plan = {}
    _refuse_other(out, plan, settings)
    return {name: int(plan["shards"][name]) for name in SPLITS}


def _refuse_other(out: Path, before: dict[str, Any], settings: dict[str, Any]) -> None:
    different = [name for name in SETTINGS if before.get(name) != settings[name]]
    if different:
        name = different[0]
        told = DIFFERENT.get(name) or f"{name} {before.get(name)}, and not {settings[name]}"
        raise ConfigError(
            f"--out {out}, which holds shards of {told}",
            "the arguments that it was begun with, or a new folder",
            "choose another --out, or add --overwrite",
        )


def _refuse_foreign(request: Request, job: Job) -> None:
    """Refuses a folder that holds anything that this job, or with --overwrite any other, does not write."""
    try:
        names = sorted(entry.name for entry in request.out.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise _not_writable(request.out, error) from None
    if request.overwrite and find(request.out):
        foreign = [name for name in names if not OURS.fullmatch(name)]
    else:
        begun = (request.out / PARTS / PLAN).exists()
        ours = {job.shard(task).name for task in job.tasks} | {index_name(name) for name in SPLITS} | {DIGEST}
        foreign = [name for name in names if name != PARTS and not (begun and name in ours)]
    if foreign:
        raise ConfigError(
            f"--out {request.out}, which holds other files ({foreign[0]})",
            "a new or empty folder",
            "choose another --out",
        )


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """The folder, made and locked; files that were not finished are removed at the end, whatever comes.

    Raises:
        ConfigError: it cannot be made, or another process writes there.
        DataError: a file in it cannot be written.
    """
    parts = out / PARTS
    try:
        parts.mkdir(parents=True, exist_ok=True)
        lock = (parts / LOCK).open("w")
    except OSError as error:
        raise _not_writable(out, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"--out {out}, where another `hpcdl data prepare` writes", "one at a time", "wait for it"
            ) from None
        except OSError:  # a file system without locks
            pass
        try:
            _remove_unfinished(parts)
            yield
        except OSError as error:
            raise _not_written(Path(error.filename or out), error) from None
        finally:
            _remove_unfinished(parts)


def _remove_unfinished(parts: Path) -> None:
    for path in parts.glob(f"*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def _clear(out: Path) -> None:
    """Deletes what `prepare` has left; what tells that the folder is its own goes last."""
    parts = [path for path in (out / PARTS).iterdir() if path.name not in (PLAN, LOCK)]
    others = [path for path in out.iterdir() if path.name not in (MANIFEST, PARTS)]
    for path in (*others, *parts, out / MANIFEST, out / PARTS / PLAN):
        path.unlink(missing_ok=True)


def _not_writable(out: Path, error: OSError) -> ConfigError:
    return ConfigError(f"--out {out}: {error.strerror}", "a folder that can be written", "choose another --out")


def _not_written(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: {error.strerror}",
        "room and permission to write it",
        "free space and run the same line again: finished shards are kept",
    )


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
        with _unfinished(path) as file:
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
        index = _npy(np.array(rows, INDEX))
        _write(job.rows(task), index)
        part = Part(
            shard=Shard(name=path.name, bytes=size, samples=len(rows), sha256=digest.hexdigest()),
            rows=_file(job.rows(task).name, index),
            skipped=skipped,
            converted=converted,
        )
        _write(job.record(task), _json(part.model_dump(mode="json")))
    except OSError as error:
        raise _not_written(path, error) from None
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


def _finish(job: Job, settings: dict[str, Any], images: ImageSet, parts: Sequence[Part]) -> Manifest:
    """Puts the indexes and the manifest together, and removes what was kept of the shards.

    Raises:
        DataError: damaged images that are not to be skipped; or no training image is left.
    """
    skipped = [remark for part in parts for remark in part.skipped]
    if skipped and not job.skip:
        raise _damaged(job.path, skipped, sum(job.samples.values()))
    written = {}
    for name in SPLITS:
        mine = [(task, part) for task, part in zip(job.tasks, parts, strict=True) if task[0] == name]
        rows = np.concatenate([np.zeros(0, INDEX), *(np.load(job.rows(task)) for task, _ in mine)])
        written[name] = _split_record(job, name, rows, [part for _, part in mine], len(images.classes))
    if not written["train"].samples:
        raise DataError(f"{job.path}: no training image that can be decoded", "images", "see what its files are")
    left_out = f", {len(skipped)} damaged ones left out" if skipped else ""
    manifest = Manifest(
        **settings,
        origin=images.origin + left_out,
        synthetic=images.synthetic,
        mean=list(images.mean),
        std=list(images.std),
        pillow=PIL.__version__,
        train=written["train"],
        test=written["test"],
    )
    content = _json(manifest.model_dump(mode="json", by_alias=True))
    _write(job.out / DIGEST, digest_line(content).encode())
    _write(job.out / MANIFEST, content)
    shutil.rmtree(job.out / PARTS)
    return manifest


def _split_record(job: Job, name: SplitName, rows: Rows, parts: Sequence[Part], classes: int) -> SplitRecord:
    """What was prepared of a split; writes its index."""
    index = _npy(rows)
    _write(job.out / index_name(name), index)
    return SplitRecord(
        samples=len(rows),
        by_class=np.bincount(rows["label"], minlength=classes).tolist(),
        order=f"shuffled with seed {job.seed}" if name == "train" else "as in the source",
        height=_range(rows["height"]),
        width=_range(rows["width"]),
        shards=[part.shard for part in parts],
        index=_file(index_name(name), index),
        skipped=[remark for part in parts for remark in part.skipped],
        converted=[remark for part in parts for remark in part.converted],
    )


def _range(values: npt.NDArray[np.int32]) -> tuple[int, int] | None:
    return (int(values.min()), int(values.max())) if len(values) else None


def _damaged(path: Path, skipped: Sequence[Remark], images: int) -> DataError:
    told = "".join(f"\n          {remark.name}: {remark.reason}" for remark in skipped[:TOLD])
    more = f"\n          and {len(skipped) - TOLD} more" if len(skipped) > TOLD else ""
    return DataError(
        f"{path}: {len(skipped)} of {images} images are damaged:{told}{more}",
        "images that can be decoded, with labels of the set",
        "repair them and run the same line again, or leave them out with --bad skip; what is finished is kept",
    )


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _npy(rows: Rows) -> bytes:
    file = io.BytesIO()
    np.save(file, rows, allow_pickle=False)
    return file.getvalue()


def _file(name: str, content: bytes) -> File:
    return File(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _write(path: Path, content: bytes) -> None:
    with _unfinished(path) as file:
        file.write(content)


@contextmanager
def _unfinished(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole and on the disk; until then it lies among the parts."""
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


def spread(work: Callable[[T, Tick], R], tasks: Sequence[T], workers: int, watch: Callable[[Counts], None]) -> list[R]:
    """Does tasks in several processes; with one worker, in this one.

    Processes start afresh (spawn), for threads of this one do not survive a fork. Should this process end in any way,
    or be interrupted, they end too.

    Args:
        work: what does a task; it can be pickled.
        tasks: what to do.
        workers: processes.
        watch: is told now and then how far all tasks are.

    Returns:
        What came of each task, in their order.

    Raises:
        DataError: a process was killed, or what `work` raises, first come.
    """
    if not tasks:
        return []
    slots = multiprocessing.get_context("spawn").RawArray("q", 3 * len(tasks))

    def tell() -> None:
        watch(Counts(*np.frombuffer(slots, np.int64).reshape(-1, 3).sum(axis=0).tolist()))

    workers = min(workers, len(tasks))
    results = _here(work, tasks, slots, tell) if workers == 1 else _elsewhere(work, tasks, slots, tell, workers)
    tell()
    return results


def _here(work: Callable[[T, Tick], R], tasks: Sequence[T], slots: Slots, tell: Callable[[], None]) -> list[R]:
    last = monotonic()

    def tick(number: int, counts: Counts) -> None:
        nonlocal last
        slots[3 * number : 3 * number + 3] = counts.done, counts.bad, counts.kept
        if monotonic() - last > PERIOD:
            last = monotonic()
            tell()

    return [work(task, partial(tick, number)) for number, task in enumerate(tasks)]


def _elsewhere(
    work: Callable[[T, Tick], R], tasks: Sequence[T], slots: Slots, tell: Callable[[], None], workers: int
) -> list[R]:
    before = multiprocessing.active_children()
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (work, slots))
    try:
        with _uninterrupted():
            futures = [pool.submit(_do, number, task) for number, task in enumerate(tasks)]
        pending = set(futures)
        while pending:
            done, pending = wait(pending, PERIOD, FIRST_EXCEPTION)
            for future in done:
                future.result()
            tell()
        return [future.result() for future in futures]
    except BaseException as error:
        for process in multiprocessing.active_children():
            if process not in before:
                process.kill()  # what it has not finished is not missed
        if isinstance(error, BrokenProcessPool):
            raise DataError(
                f"a worker process that was killed, one of {workers}",
                "memory for all of them",
                "choose fewer --workers, and run the same line again: what is finished is kept",
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back; processes that are started meanwhile never get it, so that this one alone answers it."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


_work: Callable[[Any, Tick], Any]
_slots: Slots


def _begin(work: Callable[[Any, Tick], Any], slots: Slots) -> None:
    """Readies a worker process."""
    global _work, _slots
    _work, _slots = work, slots
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _do(number: int, task: Any) -> Any:
    def tick(counts: Counts) -> None:
        _slots[3 * number : 3 * number + 3] = counts.done, counts.bad, counts.kept

    return _work(task, tick)
