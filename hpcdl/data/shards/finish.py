"""From finished shards to a folder that is whole: their rows become the index, their records the manifest."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

from hpcdl.data.images import ImageSet
from hpcdl.data.shards.files import describe, to_json, to_npy, write
from hpcdl.data.shards.format import DIGEST, MANIFEST, PARTS, SPLITS, SplitName, index_name
from hpcdl.data.shards.index import INDEX, Rows
from hpcdl.data.shards.manifest import Manifest, Remark, SplitRecord, digest_line
from hpcdl.data.shards.plan import Job
from hpcdl.data.shards.writing import Part
from hpcdl.errors import DataError

TOLD = 10
"""Damaged images that an error names."""


def finish(job: Job, settings: dict[str, Any], images: ImageSet, parts: Sequence[Part]) -> Manifest:
    """Puts the indexes and the manifest together, and removes what was kept of the shards.

    Args:
        job: what all shards share.
        settings: of the request.
        images: what its source holds.
        parts: what came of each task of the job, in their order.

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
    content = to_json(manifest.model_dump(mode="json", by_alias=True))
    write(job.out / DIGEST, digest_line(content).encode())
    write(job.out / MANIFEST, content)
    shutil.rmtree(job.out / PARTS)
    return manifest


def _split_record(job: Job, name: SplitName, rows: Rows, parts: Sequence[Part], classes: int) -> SplitRecord:
    """What was prepared of a split; writes its index."""
    index = to_npy(rows)
    write(job.out / index_name(name), index)
    return SplitRecord(
        samples=len(rows),
        by_class=np.bincount(rows["label"], minlength=classes).tolist(),
        order=f"shuffled with seed {job.seed}" if name == "train" else "as in the source",
        height=_range(rows["height"]),
        width=_range(rows["width"]),
        shards=[part.shard for part in parts],
        index=describe(index_name(name), index),
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
