"""MNIST and Fashion-MNIST from IDX files: where they are found, what they hold, and every damage named."""

from __future__ import annotations

import gzip
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from hpcdl.data.sources import idx
from hpcdl.data.sources.idx import FASHION_MNIST, MNIST
from hpcdl.data.sources.registry import locate
from hpcdl.errors import DataError

COUNTS = {"train": 30, "t10k": 12}
IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


def write(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def images_file(pixels: np.ndarray) -> bytes:
    return struct.pack(">IIII", 0x803, *pixels.shape) + pixels.astype(np.uint8).tobytes()


def labels_file(labels: np.ndarray) -> bytes:
    return struct.pack(">II", 0x801, len(labels)) + labels.astype(np.uint8).tobytes()


def pixels_of(split: str) -> np.ndarray:
    return np.random.default_rng(len(split)).integers(0, 256, (COUNTS[split], 28, 28))


def labels_of(split: str) -> np.ndarray:
    return np.arange(COUNTS[split]) * 3 % 10


def small(folder: Path, ending: str = "", dot: bool = False) -> Path:
    """A small set, written by hand, with the mark of a stand-in."""
    for split in COUNTS:
        for name, content in (
            (f"{split}-images-idx3-ubyte{ending}", images_file(pixels_of(split))),
            (f"{split}-labels-idx1-ubyte{ending}", labels_file(labels_of(split))),
        ):
            write(folder, name.replace("-idx", ".idx") if dot else name, content)
    (folder / "synthetic.json").write_text(json.dumps({"records": COUNTS}))
    return folder


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_pixels_and_labels_are_where_the_layout_says(tmp_path: Path, ending: str, dot: bool) -> None:
    folder = small(tmp_path / "mnist", ending, dot)
    assert idx.find(tmp_path) == folder
    idx.check(folder)
    data = idx.load(folder)
    assert data.train.pixels.shape == (30, 28, 28, 1) and data.train.labels.dtype == np.int32
    for images, split in ((data.train, "train"), (data.test, "t10k")):
        assert np.array_equal(images.pixels[..., 0], pixels_of(split))
        assert np.array_equal(images.labels, labels_of(split))
    assert data.name == "mnist" and data.synthetic
    assert data.classes == tuple("0123456789")
    assert (data.mean, data.std) == ((0.1307,), (0.3081,))


def test_files_may_be_mixed_and_a_plain_one_comes_first(tmp_path: Path) -> None:
    folder = small(tmp_path, ".gz")
    write(folder, LABELS, labels_file(labels_of("train")[::-1]))
    assert np.array_equal(idx.load(folder).train.labels, labels_of("train")[::-1])


def test_fashion_mnist_has_classes_and_statistics_of_its_own(tmp_path: Path) -> None:
    data = idx.load(small(tmp_path), FASHION_MNIST)
    assert data.name == "fashion-mnist"
    assert data.classes[0] == "T-shirt/top" and data.classes[9] == "Ankle boot" and len(data.classes) == 10
    assert (data.mean, data.std) == ((0.2860,), (0.3530,))


def test_without_the_mark_of_a_stand_in_the_official_counts_are_required(tmp_path: Path) -> None:
    folder = small(tmp_path)
    (folder / "synthetic.json").unlink()
    with pytest.raises(DataError, match=rf"{IMAGES} with values 30 x 28 x 28\nexpected: 60000 x 28 x 28"):
        idx.check(folder)
    for split, count in (("train", 60_000), ("t10k", 10_000)):
        write(folder, f"{split}-images-idx3-ubyte", struct.pack(">IIII", 0x803, count, 28, 28) + bytes(count * 784))
        write(folder, f"{split}-labels-idx1-ubyte", struct.pack(">II", 0x801, count) + bytes(count))
    data = idx.load(folder)
    assert len(data.train) == 60_000 and len(data.test) == 10_000 and not data.synthetic


def test_each_set_is_found_in_its_own_folders(tmp_path: Path) -> None:
    for kind, own, torchvision in ((MNIST, "mnist", "MNIST/raw"), (FASHION_MNIST, "fashion-mnist", "FashionMNIST/raw")):
        for place in (own, torchvision):
            sets = tmp_path / place.replace("/", "-")
            folder = small(sets / place)
            assert idx.find(sets, kind) == idx.search(sets, kind) == folder
            other = FASHION_MNIST if kind is MNIST else MNIST
            assert idx.find(sets, other) is None and idx.search(sets, other) is None
            assert idx.find(folder, other) == folder  # whoever names it knows what it is


def test_files_directly_in_a_folder_of_sets_are_mnist_and_never_fashion_mnist(tmp_path: Path) -> None:
    folder = small(tmp_path / "sets")
    assert idx.find(folder) == idx.search(folder) == folder
    assert idx.find(folder, FASHION_MNIST) == folder and idx.search(folder, FASHION_MNIST) is None
    small(folder / "mnist")
    assert idx.search(folder) == folder / "mnist"
    for name in ("fashion-mnist", "FashionMNIST/raw", "KMNIST/raw"):
        other = small(tmp_path / name)
        assert idx.search(other) is None and idx.find(other) == other
    with pytest.raises(DataError, match="fashion-mnist"):
        locate("fashion-mnist", [], [("HPCDL_DATA", str(folder))])
    assert locate("fashion-mnist", [("--data", str(folder))], []) == folder


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (IMAGES, lambda b: b[:-1], "truncated"),
        (IMAGES, lambda b: b[:-784], "truncated"),
        (IMAGES, lambda b: b[:16], "truncated"),
        (IMAGES, lambda b: b[:12], "truncated"),
        (IMAGES, lambda b: b[:5], "truncated"),
        (IMAGES, lambda b: b[:3], "begins with"),
        (IMAGES, lambda b: b"", "begins with"),
        (IMAGES, lambda b: b + b"\0", "too long"),
        (IMAGES, lambda b: b + bytes(10_000), "too long"),
        (IMAGES, lambda b: b"\1" + b[1:], "begins with 01000803"),
        (IMAGES, lambda b: b[:2] + b"\x0d" + b[3:], "begins with 00000d03"),
        (IMAGES, lambda b: b[:3] + b"\1" + b[4:], "begins with 00000801"),
        (IMAGES, lambda b: b[:7] + b"\x1d" + b[8:], "29 x 28 x 28"),
        (IMAGES, lambda b: b[:11] + b"\x1d" + b[12:], "30 x 29 x 28"),
        (IMAGES, lambda b: b[:4] + b"\xff" + b[5:], "4278190110 x 28 x 28"),
        (IMAGES, lambda b: b[:4][::-1] + b[4:], "begins with 03080000"),
        (LABELS, lambda b: b[:-1], "truncated"),
        (LABELS, lambda b: b + b"\0", "too long"),
        (LABELS, lambda b: b[:7] + b"\x1d" + b[8:-1], "values 29"),
        (LABELS, lambda b: b[:13] + b"\x0a" + b[14:], "label 10 at 5"),
        ("t10k-images-idx3-ubyte", lambda b: b[:-1], "truncated"),
        ("t10k-labels-idx1-ubyte", lambda b: b[:8] + b"\xff" + b[9:], "label 255 at 0"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, ending: str, name: str, change: object, told: str) -> None:
    folder = small(tmp_path, ending)
    path = folder / f"{name}{ending}"
    content = gzip.decompress(path.read_bytes()) if ending else path.read_bytes()
    assert callable(change)
    write(folder, path.name, change(content))
    for read in (idx.check, idx.load):
        with pytest.raises(DataError) as caught:
            read(folder)
        assert str(path) in caught.value.received and told in caught.value.received


def test_counts_of_images_and_labels_must_be_the_same(tmp_path: Path) -> None:
    folder = small(tmp_path)
    write(folder, LABELS, labels_file(np.zeros(29)))
    with pytest.raises(DataError, match=rf"{LABELS} with values 29\nexpected: 30"):
        idx.load(folder)


@pytest.mark.parametrize("name", [f"{s}-{p}" for s in COUNTS for p in ("images-idx3-ubyte", "labels-idx1-ubyte")])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = small(tmp_path)
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"no file {name}"):
        idx.check(folder)


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    path = small(tmp_path, ".gz") / f"{IMAGES}.gz"
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    damages = [whole[:length] for length in (0, 1, 9, 100, len(whole) - 9, len(whole) - 1)]
    for place in random.integers(10, len(whole), 40):
        damages.append(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
    for damaged in (*damages, b"not gzip at all"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{IMAGES}\.gz"):
            idx.load(tmp_path)


@pytest.mark.parametrize("mark", ["", "{}", '{"records": {"train": 0}}', '{"records": []}'])
def test_a_mark_without_counts_is_refused(tmp_path: Path, mark: str) -> None:
    (small(tmp_path) / "synthetic.json").write_text(mark)
    with pytest.raises(DataError, match=r"synthetic\.json"):
        idx.load(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = small(tmp_path) / LABELS
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=LABELS):
        idx.load(tmp_path)


@pytest.mark.needs("mnist")
def test_the_real_set_is_whole() -> None:
    folder = idx.search(Path(os.environ["HPCDL_DATA"]))
    assert folder is not None
    data = idx.load(folder)
    assert not data.synthetic
    # Counts by digit as published with the set.
    assert np.bincount(data.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(data.train.pixels.mean() / 255 - 0.1307) < 1e-4 and abs(data.train.pixels.std() / 255 - 0.3081) < 1e-4
