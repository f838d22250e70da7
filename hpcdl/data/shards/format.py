"""Shards: images in a few large TFRecord files, an index that tells where each lies, and a manifest of all files.

A folder of shards holds:

- `train-00000-of-00012.tfrecord` …: tf.train.Example messages that any TFRecord reader can use (`FEATURES`);
- `train.index.npy`: one row of `index.INDEX` an image, so that one read gets an image's bytes without parsing;
- `manifest.json`: what was prepared, how, and name, bytes and SHA-256 of every other file;
- `manifest.sha256`: the manifest's own SHA-256, for `sha256sum --check`.

Here are the names of these files, and of what is in a record.
"""

from __future__ import annotations

from typing import Literal

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
MEND = "`hpcdl data verify` tells what is damaged; copy the folder again, or prepare it anew"
"""How to mend a folder of which something is damaged."""


def shard_name(split: str, number: int, shards: int) -> str:
    """train-00003-of-00012.tfrecord."""
    return f"{split}-{number:05d}-of-{shards:05d}.tfrecord"


def index_name(split: str) -> str:
    """train.index.npy."""
    return f"{split}.index.npy"
