"""CIFAR-10 in its official binary layout: a folder, or the .tar.gz archive as it was downloaded.

Each file is a run of records: one label byte, then 3,072 pixel bytes, the red plane first, each
plane row by row (https://www.cs.toronto.edu/~kriz/cifar.html).
"""

from __future__ import annotations

import json
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import numpy.typing as npt

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


def synthesize(out: Path, train: int = 50_000, test: int = 10_000, seed: int = 0) -> Path:
    """Writes a learnable stand-in with the official file layout; equal arguments give equal bytes.

    Each class is a smooth colour pattern, shifted and buried in noise.

    Args:
        out: folder that gets `cifar-10-batches-bin`.
        train: training images in all, a multiple of 5.
        test: test images.
        seed: of the patterns and the noise.

    Raises:
        DataError: the folder is there already, or cannot be written.
    """
    if train < 5 or train % 5 or test < 1:
        raise DataError(
            f"{train} training and {test} test images", "a positive multiple of 5, and at least 1", "change the counts"
        )
    folder = out / FOLDER
    if folder.exists():
        raise DataError(
            f"{folder} exists", "a folder that is not there yet", "choose another --out, or delete it first"
        )
    patterns = _patterns(np.random.default_rng([seed, 0]))
    counts = {**dict.fromkeys(TRAIN_FILES, train // 5), TEST_FILE: test}
    try:
        out.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{FOLDER}.", dir=out))
    except OSError as error:
        raise DataError(f"{out}: {error.strerror}", "a folder that can be written", "choose another --out") from None
    try:
        for number, (name, count) in enumerate(counts.items(), start=1):
            _draw(patterns, count, np.random.default_rng([seed, number])).tofile(beside / name)
        (beside / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
        (beside / MARK).write_text(json.dumps({"records": counts, "seed": seed}) + "\n", encoding="utf-8")
        beside.chmod(0o755)
        beside.replace(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: {error.strerror}", "room and permission to write it", "free space or choose another --out"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


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
        raise DataError(f"no file {name} in {path}", f"{', '.join(TRAIN_FILES)} and {TEST_FILE}", MEND)
    expected = (RECORDS if counts is None else counts.get(name, 0)) * RECORD
    if len(data) != expected:
        kind = "truncated" if len(data) < expected else "too long"
        raise DataError(
            f"{path}/{name} with {len(data):,} bytes ({kind})", f"{expected:,} bytes", "copy or download it again"
        )
    table = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    labels = table[:, 0].astype(np.int32)
    if labels.max() >= len(CLASSES):
        place = int(np.argmax(labels >= len(CLASSES)))
        raise DataError(
            f"{path}/{name}: label {labels[place]} in record {place}", "labels from 0 to 9", "copy or download it again"
        )
    return Images(np.ascontiguousarray(table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels)


def _patterns(random: np.random.Generator) -> npt.NDArray[np.float32]:
    """One smooth pattern a class, (10, 32, 32, 3) in about [-1, 1]: a few low frequencies, which wrap around."""
    rows, columns = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    patterns = np.zeros((len(CLASSES), 32, 32, 3), np.float32)
    for label in range(len(CLASSES)):
        for channel in range(3):
            for _ in range(3):
                down, across = random.integers(-3, 4, size=2)
                phase = random.uniform(0, 2 * np.pi)
                patterns[label, :, :, channel] += np.cos(2 * np.pi * (down * rows + across * columns) / 32 + phase) / 3
    return patterns


def _draw(patterns: npt.NDArray[np.float32], count: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """`count` records (count, 3073) of the official layout."""
    table = np.empty((count, RECORD), np.uint8)
    for begin in range(0, count, 1000):
        size = min(1000, count - begin)
        labels = random.integers(0, len(CLASSES), size)
        shifts = random.integers(-4, 5, size=(size, 2))
        images = np.stack(
            [np.roll(patterns[label], shift, (0, 1)) for label, shift in zip(labels, shifts, strict=True)]
        )
        noisy = 128 + 40 * images + 60 * random.standard_normal(images.shape, dtype=np.float32)
        table[begin : begin + size, 0] = labels
        table[begin : begin + size, 1:] = (
            np.clip(noisy, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2).reshape(size, -1)
        )
    return table
