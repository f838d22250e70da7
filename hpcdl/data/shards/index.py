"""The index of a split: a row for each image, which tells where its bytes lie, its label and its shape."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from hpcdl.data.shards.format import MEND
from hpcdl.data.shards.manifest import Manifest, SplitRecord, check_size
from hpcdl.errors import DataError

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
Rows = npt.NDArray[np.void]
"""(images,) of INDEX."""


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
    check_size(file, split.index.bytes)
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
