"""CIFAR-10 and CIFAR-100 as published: folders, or the .tar.gz archives as they were downloaded.

The binary version is a run of records: label bytes, the wanted one last, then 3,072 pixel bytes, the
red plane first, each plane row by row. The Python version is a pickled dictionary with the same
pixels as an array and the labels as a list (https://www.cs.toronto.edu/~kriz/cifar.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcdl.data.images import Images, ImageSet, Labels
from hpcdl.data.sources.files import ARCHIVES, contents, survey
from hpcdl.data.sources.unpickle import unpickle
from hpcdl.errors import DataError

SIDE = 32
PIXELS = 3 * SIDE * SIDE
"""Bytes of an image."""
AGAIN = "copy or download it again"
FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
"""CIFAR-100's classes by label; a file of names beside the images wins over them."""


@dataclass(frozen=True)
class Version:
    """One of the two forms in which a set is published."""

    folder: str
    archive: str
    records: Mapping[str, int]
    """Images in each official file; the last file is the test split."""
    names: str | None = None
    """File with the names of the classes, where they are read."""
    pickled: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Of images."""
        return tuple(self.records)


@dataclass(frozen=True)
class Kind:
    """What tells CIFAR-10 and CIFAR-100 apart."""

    name: str
    classes: tuple[str, ...]
    binary: Version
    python: Version
    label_bytes: int
    """Before each image in the binary version; the last one counts."""
    labels: str
    """Key of the labels in the Python version."""
    names: str
    """Key of the classes' names there."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def folder(self) -> str:
        """Of the binary version, and so of a stand-in."""
        return self.binary.folder

    @property
    def record(self) -> int:
        """Bytes of a record in the binary version."""
        return self.label_bytes + PIXELS


# Means and deviations are of the 50,000 training images, as widely used; a stand-in is normalised alike.
CIFAR10 = Kind(
    name="cifar10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    binary=Version(
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
        {**{f"data_batch_{number}.bin": 10_000 for number in range(1, 6)}, "test_batch.bin": 10_000},
    ),
    python=Version(
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        {**{f"data_batch_{number}": 10_000 for number in range(1, 6)}, "test_batch": 10_000},
        pickled=True,
    ),
    label_bytes=1,
    labels="labels",
    names="label_names",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
CIFAR100 = Kind(
    name="cifar100",
    classes=tuple(FINE.split()),
    binary=Version(
        "cifar-100-binary",
        "cifar-100-binary.tar.gz",
        {"train.bin": 50_000, "test.bin": 10_000},
        names="fine_label_names.txt",
    ),
    python=Version(
        "cifar-100-python", "cifar-100-python.tar.gz", {"train": 50_000, "test": 10_000}, names="meta", pickled=True
    ),
    label_bytes=2,
    labels="fine_labels",
    names="fine_label_names",
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


def find(path: Path, kind: Kind = CIFAR10) -> Path | None:
    """A set in or at a path that is said to hold it: the folder of its files, or its archive.

    The binary version comes first where both are there.
    """
    return _look(path, kind, said=True)


def search(path: Path, kind: Kind = CIFAR10) -> Path | None:
    """A set in or at a folder that may hold anything.

    An archive must have its published name then, and files called `train` their folder or the file with the
    names of the classes.
    """
    return _look(path, kind, said=False)


def check(path: Path, kind: Kind = CIFAR10) -> None:
    """Refuses a set with a missing, truncated or too long file, before ranks start; labels are left to `load`.

    Args:
        path: what `find` answered.
        kind: the set.

    Raises:
        DataError: as `load`.
    """
    _survey(path, kind)


def load(path: Path, kind: Kind = CIFAR10) -> ImageSet:
    """Reads a set into memory (about 180 MB).

    Args:
        path: what `find` answered.
        kind: the set.

    Returns:
        Pixels (n, 32, 32, 3); of CIFAR-100 the 100 fine labels.

    Raises:
        DataError: a file is missing, truncated, too long, asks for more than its data, or holds a label that
            stands for no class.
    """
    version, counts, synthetic = _survey(path, kind)
    stops = dict(zip(version.files, np.cumsum(list(counts.values())).tolist(), strict=True))
    pixels = np.empty((sum(counts.values()), SIDE, SIDE, 3), np.uint8)
    labels = np.empty(len(pixels), np.int32)
    classes = kind.classes
    for name, content in contents(path, [*version.files, *filter(None, [version.names])]):
        if name == version.names:
            classes = _names(content, f"{path}/{name}", kind, version)
            continue
        place = slice(stops[name] - counts[name], stops[name])
        parse = _unpickled if version.pickled else _records
        planes, labels[place] = parse(content, f"{path}/{name}", kind, counts[name])
        pixels[place] = planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        _check_labels(labels[place], f"{path}/{name}", kind)
    train = len(pixels) - counts[version.files[-1]]
    return ImageSet(
        name=kind.name,
        train=Images(pixels[:train], labels[:train]),
        test=Images(pixels[train:], labels[train:]),
        classes=classes,
        path=str(path),
        synthetic=synthetic,
        mean=kind.mean,
        std=kind.std,
    )


def _look(path: Path, kind: Kind, said: bool) -> Path | None:
    for version in (kind.binary, kind.python):
        if (path / version.folder / version.files[0]).is_file():
            return path / version.folder
        if (path / version.files[0]).is_file() and (said or not version.names or (path / version.names).is_file()):
            return path
        if (path / version.archive).is_file():
            return path / version.archive
    known = path.name.endswith(ARCHIVES) if said else path.name in (kind.binary.archive, kind.python.archive)
    return path if known and path.is_file() else None


def _survey(path: Path, kind: Kind) -> tuple[Version, dict[str, int], bool]:
    """The version at a path, the images in each of its files, and whether they are hpcdl's own."""
    mend = f"put {kind.binary.archive} there, or make a stand-in: `hpcdl data synth {kind.name} --out DIR`"
    there, marked = survey(path, [*kind.binary.files, *kind.python.files], mend)
    # The first of them where both have as many.
    version = max((kind.binary, kind.python), key=lambda version: len(there.keys() & version.records.keys()))
    counts = {name: (version.records if marked is None else marked).get(name, 0) for name in version.files}
    for name, count in counts.items():
        if name not in there:
            *others, last = version.files
            raise DataError(f"no file {name} in {path}", f"{', '.join(others)} and {last}", mend)
        _check_length(f"{path}/{name}", there[name], kind, version, count)
    return version, counts, marked is not None


def _check_length(told: str, length: int, kind: Kind, version: Version, count: int) -> None:
    if version.pickled:
        # Besides its pixels a pickle has labels and file names, which are far shorter.
        least, most, expected = count * PIXELS, 2 * count * PIXELS, f"{count * PIXELS:,} bytes and some more"
    else:
        least = most = count * kind.record
        expected = f"{least:,} bytes"
    if not least <= length <= most:
        damage = "truncated" if length < least else "too long"
        raise DataError(f"{told} with {length:,} bytes ({damage})", expected, AGAIN)


Planes = npt.NDArray[np.uint8]
"""(images, 3072): a row an image, its three planes one after the other."""


def _records(content: bytes, told: str, kind: Kind, count: int) -> tuple[Planes, Labels]:
    # An archive may hold a name twice, so the length is looked at again.
    _check_length(told, len(content), kind, kind.binary, count)
    table = np.frombuffer(content, np.uint8).reshape(count, kind.record)
    return table[:, kind.label_bytes :], table[:, kind.label_bytes - 1].astype(np.int32)


def _unpickled(content: bytes, told: str, kind: Kind, count: int) -> tuple[Planes, Labels]:
    table = _dictionary(content, told)
    planes, labels = table.get("data"), table.get(kind.labels)
    if not isinstance(planes, np.ndarray) or planes.dtype != np.uint8 or planes.shape != (count, PIXELS):
        raise DataError(f"{told}: {_what(planes)} as data", f"an array ({count}, {PIXELS}) of uint8", AGAIN)
    if not isinstance(labels, list) or len(labels) != count or not all(type(label) is int for label in labels):
        raise DataError(f"{told}: {_what(labels)} as {kind.labels}", f"a list of {count} whole numbers", AGAIN)
    # Beyond int32 is out of range all the more.
    return np.asarray(planes), np.clip(labels, -1, np.iinfo(np.int32).max).astype(np.int32)


def _check_labels(labels: Labels, told: str, kind: Kind) -> None:
    wrong = (labels < 0) | (labels >= len(kind.classes))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise DataError(
            f"{told}: label {labels[place]} in record {place}", f"labels from 0 to {len(kind.classes) - 1}", AGAIN
        )


def _names(content: bytes, told: str, kind: Kind, version: Version) -> tuple[str, ...]:
    if version.pickled:
        listed = _dictionary(content, told).get(kind.names)
        listed = listed if isinstance(listed, list) else []
        names = [_text(name) for name in listed if isinstance(name, str | bytes)]
    else:
        names = [line.strip() for line in _text(content).splitlines() if line.strip()]
    if len(names) != len(kind.classes) or len(set(names)) != len(names):
        raise DataError(
            f"{told}: {len(set(names))} different names of classes in {len(names)}",
            f"{len(kind.classes)} different names",
            AGAIN,
        )
    return tuple(names)


def _dictionary(content: bytes, told: str) -> dict[str, Any]:
    found = unpickle(content, told)
    if not isinstance(found, dict):
        raise DataError(f"{told}: a pickled {type(found).__name__}", "a pickled dictionary", AGAIN)
    return {_text(key): value for key, value in found.items() if isinstance(key, str | bytes)}


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _what(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"
