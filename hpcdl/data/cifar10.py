"""CIFAR-10 in its official binary layout: a folder, or the .tar.gz archive as it was downloaded.

Each file is a run of records: one label byte, then 3,072 pixel bytes, the red plane first, each
plane row by row (https://www.cs.toronto.edu/~kriz/cifar.html).
"""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpcdl.data.images import Images, ImageSet
from hpcdl.errors import DataError

FOLDER = "cifar-10-batches-bin"
ARCHIVE = "cifar-10-binary.tar.gz"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORD = 1 + 3 * 32 * 32
RECORDS = 10_000
"""Records in each official file."""
MARK = "synthetic.json"
"""Lies beside files that hpcdl made, and tells how many records each holds."""
# Of the 50,000 training images, as widely used; a stand-in is normalised alike.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
MEND = "put the official binary archive there, or make a stand-in: `hpcdl data synth cifar10 --out DIR`"


def find(folder: Path) -> Path | None:
    """CIFAR-10 in or at a path: the folder of its files, or its archive; None where there is neither."""
    for place in (folder / FOLDER, folder):
        if (place / TRAIN_FILES[0]).is_file():
            return place
    if (folder / ARCHIVE).is_file():
        return folder / ARCHIVE
    return folder if folder.is_file() and folder.name.endswith((".tar.gz", ".tgz", ".tar")) else None


def check(path: Path) -> None:
    """Refuses a set with a missing, truncated or too long file, before ranks start; labels are left to `load`.

    Raises:
        DataError: as `load`.
    """
    read = _archive_reader(path) if path.is_file() else _folder_reader(path)
    counts = _expected(read)
    for name in (*TRAIN_FILES, TEST_FILE):
        if path.is_file():
            data = read(name)
            length = None if data is None else len(data)
        else:
            length = (path / name).stat().st_size if (path / name).exists() else None
        if length is None:
            raise _missing(name, path)
        _check_length(name, length, path, counts)


def load(path: Path) -> ImageSet:
    """Reads the set into memory (about 180 MB).

    Args:
        path: what `find` answered.

    Raises:
        DataError: a file is missing, truncated, too long, or holds a label above 9.
    """
    read = _archive_reader(path) if path.is_file() else _folder_reader(path)
    counts = _expected(read)
    train = [_images(read(name), name, path, counts) for name in TRAIN_FILES]
    return ImageSet(
        name="cifar10",
        train=Images(np.concatenate([part.pixels for part in train]), np.concatenate([part.labels for part in train])),
        test=_images(read(TEST_FILE), TEST_FILE, path, counts),
        classes=CLASSES,
        path=str(path),
        synthetic=counts is not None,
        mean=MEAN,
        std=STD,
    )


Reader = Callable[[str], bytes | None]


def _folder_reader(folder: Path) -> Reader:
    def read(name: str) -> bytes | None:
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{folder / name}: {error.strerror}", "a readable file", "check its permissions") from None

    return read


def _archive_reader(path: Path) -> Reader:
    wanted = {*TRAIN_FILES, TEST_FILE, MARK}
    try:
        with tarfile.open(path) as tar:
            members = {Path(member.name).name: member for member in tar if member.isfile()}
            files = {name: tar.extractfile(members[name]) for name in wanted & members.keys()}
            content = {name: file.read() for name, file in files.items() if file is not None}
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: {error}", f"the whole archive {ARCHIVE}", "download it again") from None
    return content.get


def _expected(read: Reader) -> dict[str, int] | None:
    """Records by file where the files are hpcdl's own, None where they are the official ones."""
    mark = read(MARK)
    if mark is None:
        return None
    try:
        return {str(name): int(count) for name, count in json.loads(mark)["records"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{MARK} without record counts", "the file that `hpcdl data synth` wrote", MEND) from None


def _images(data: bytes | None, name: str, path: Path, counts: dict[str, int] | None) -> Images:
    if data is None:
        raise _missing(name, path)
    _check_length(name, len(data), path, counts)
    table = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    labels = table[:, 0].astype(np.int32)
    if labels.max() >= len(CLASSES):
        place = int(np.argmax(labels >= len(CLASSES)))
        raise DataError(
            f"{path}/{name}: label {labels[place]} in record {place}", "labels from 0 to 9", "copy or download it again"
        )
    return Images(np.ascontiguousarray(table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels)


def _check_length(name: str, length: int, path: Path, counts: dict[str, int] | None) -> None:
    expected = (RECORDS if counts is None else counts.get(name, 0)) * RECORD
    if length != expected:
        kind = "truncated" if length < expected else "too long"
        raise DataError(
            f"{path}/{name} with {length:,} bytes ({kind})", f"{expected:,} bytes", "copy or download it again"
        )


def _missing(name: str, path: Path) -> DataError:
    return DataError(f"no file {name} in {path}", f"{', '.join(TRAIN_FILES)} and {TEST_FILE}", MEND)
