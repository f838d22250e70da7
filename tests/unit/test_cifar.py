"""CIFAR-10 and CIFAR-100 in both versions: read from folder and archive, and every damage named."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcdl.data.images import ImageSet
from hpcdl.data.sources import cifar
from hpcdl.data.sources.cifar import CIFAR10, CIFAR100, Kind
from hpcdl.data.sources.files import MARK
from hpcdl.data.sources.registry import SOURCES, locate
from hpcdl.data.sources.synth import cifar as synthesize
from hpcdl.data.subset import Subset
from hpcdl.errors import DataError

FOLDER = CIFAR10.binary.folder
FILES = CIFAR10.binary.files
TEST_FILE = "test_batch.bin"
KINDS = [pytest.param(kind, id=kind.name) for kind in (CIFAR10, CIFAR100)]


@pytest.fixture
def copy(small_cifar: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(small_cifar / FOLDER, tmp_path / FOLDER))


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    """A stand-in for CIFAR-100."""
    return synthesize(tmp_path, train=300, test=120, kind=CIFAR100)


def as_python(binary: Path, kind: Kind, out: Path, **changes: Any) -> Path:
    """The same set in the Python version, its text as Python 2 left it: as bytes."""
    folder = out / kind.python.folder
    folder.mkdir(parents=True)
    for name, python in zip(kind.binary.files, kind.python.files, strict=True):
        table = np.fromfile(binary / name, np.uint8).reshape(-1, kind.record)
        content = {
            b"filenames": [b"file.png"] * len(table),
            b"data": table[:, kind.label_bytes :].copy(),
            kind.labels.encode(): table[:, kind.label_bytes - 1].tolist(),
            b"coarse_labels": [99] * len(table),
            b"batch_label": b"a batch",
        }
        content |= {key.encode(): value for key, value in changes.items()} if name == kind.binary.files[0] else {}
        (folder / python).write_bytes(pickle.dumps(content, 3))
    if kind.python.names:
        meta = {b"fine_label_names": [name.encode() for name in kind.classes], b"coarse_label_names": [b"x"] * 20}
        (folder / kind.python.names).write_bytes(pickle.dumps(meta, 3))
    counts = json.loads((binary / MARK).read_text())["records"]
    renamed = dict(zip(kind.python.files, (counts[name] for name in kind.binary.files), strict=True))
    (folder / MARK).write_text(json.dumps({"records": renamed}))
    return folder


def archived(folder: Path, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        tar.add(folder, folder.name)
    return path


def assert_equal(one: ImageSet, other: ImageSet) -> None:
    for split in ("train", "test"):
        left, right = getattr(one, split), getattr(other, split)
        assert np.array_equal(left.pixels, right.pixels) and np.array_equal(left.labels, right.labels)
    assert one.classes == other.classes and one.synthetic == other.synthetic


def test_pixels_and_labels_are_where_the_layout_says(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    records = np.zeros((10_000, 3073), np.uint8)
    records[:, 0] = np.arange(10_000) % 10
    records[7, 1 + 0 * 1024 + 2 * 32 + 3] = 11  # red of row 2, column 3
    records[7, 1 + 1 * 1024 + 2 * 32 + 3] = 22  # green
    records[7, 1 + 2 * 1024 + 2 * 32 + 3] = 33  # blue
    for name in FILES:
        records.tofile(folder / name)
    data = cifar.load(folder)
    assert len(data.train) == 50_000 and len(data.test) == 10_000
    assert data.train.pixels.shape == (50_000, 32, 32, 3) and data.train.labels.dtype == np.int32
    assert data.train.pixels[7, 2, 3].tolist() == [11, 22, 33]
    assert data.train.pixels[10_007, 2, 3].tolist() == [11, 22, 33]
    assert data.test.labels[:12].tolist() == [*range(10), 0, 1]
    assert not data.synthetic and data.origin.startswith("real")


def test_of_cifar_100_the_fine_labels_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for name, count in (("train.bin", 50_000), ("test.bin", 10_000)):
        records = np.zeros((count, 3074), np.uint8)
        records[:, 0] = np.arange(count) % 20
        records[:, 1] = np.arange(count) * 7 % 100
        records[5, 2 + 1 * 1024 + 31 * 32 + 30] = 44  # green of row 31, column 30
        records.tofile(folder / name)
    data = cifar.load(folder, CIFAR100)
    assert data.train.labels[:4].tolist() == [0, 7, 14, 21] and data.train.labels.max() == 99
    assert data.train.pixels[5, 31, 30].tolist() == [0, 44, 0] and data.test.pixels[5, 31, 30].tolist() == [0, 44, 0]
    assert len(data.train) == 50_000 and len(data.test) == 10_000
    assert len(data.classes) == 100 and data.classes[:2] == ("apple", "aquarium_fish") and not data.synthetic


def test_names_of_cifar_100_come_from_its_file(hundred: Path) -> None:
    (hundred / "fine_label_names.txt").write_text("\n".join(f"thing {n}" for n in range(100)) + "\n\n")
    assert cifar.load(hundred, CIFAR100).classes[99] == "thing 99"
    (hundred / "fine_label_names.txt").unlink()
    assert cifar.load(hundred, CIFAR100).classes == CIFAR100.classes
    for names in (["a"] * 100, [str(n) for n in range(99)], [str(n) for n in range(101)]):
        (hundred / "fine_label_names.txt").write_text("\n".join(names))
        with pytest.raises(DataError, match=r"fine_label_names\.txt.*names"):
            cifar.load(hundred, CIFAR100)


def test_the_stand_in_says_what_it_is(small_cifar: Path, hundred: Path) -> None:
    for data in (cifar.load(small_cifar / FOLDER), cifar.load(hundred, CIFAR100)):
        assert data.synthetic and "synthetic" in data.origin


@pytest.mark.parametrize("kind", KINDS)
def test_the_python_version_gives_what_the_binary_one_gives(kind: Kind, tmp_path: Path) -> None:
    binary = synthesize(tmp_path / "binary", train=250, test=60, kind=kind)
    folder = as_python(binary, kind, tmp_path / "sets")
    assert cifar.find(folder.parent, kind) == folder == cifar.find(folder, kind)
    cifar.check(folder, kind)
    assert_equal(cifar.load(folder, kind), cifar.load(binary, kind))
    archive = archived(folder, tmp_path / "archives" / kind.python.archive)
    assert cifar.find(archive.parent, kind) == archive == cifar.search(archive.parent, kind)
    cifar.check(archive, kind)
    assert_equal(cifar.load(archive, kind), cifar.load(binary, kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [".tar.gz", ".tar"])
def test_the_archive_gives_what_the_folder_gives(kind: Kind, ending: str, tmp_path: Path) -> None:
    folder = synthesize(tmp_path, train=250, test=60, kind=kind)
    archive = archived(folder, tmp_path / "sets" / kind.binary.archive.replace(".tar.gz", ending))
    assert cifar.find(archive, kind) == archive
    cifar.check(archive, kind)
    assert_equal(cifar.load(archive, kind), cifar.load(folder, kind))


def test_a_cut_archive_is_refused_before_anything_starts(copy: Path, tmp_path: Path) -> None:
    archive = archived(copy, tmp_path / "sets" / CIFAR10.binary.archive)
    whole = archive.read_bytes()
    assert cifar.find(archive.parent) == archive
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 2000, len(whole) - 9, len(whole) - 1):
        archive.write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            cifar.check(archive)
        assert str(archive) in caught.value.received, length


def test_a_changed_bit_in_an_archive_is_noticed(copy: Path, tmp_path: Path) -> None:
    archive = archived(copy, tmp_path / "sets" / CIFAR10.binary.archive)
    whole = archive.read_bytes()
    for place in np.random.default_rng(0).integers(20, len(whole), 30):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(place) % 8
        archive.write_bytes(damaged)
        with pytest.raises(DataError):
            cifar.load(archive)


def test_an_archive_of_something_else_is_not_a_set(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    for content in (b"", b"text", gzip.compress(b"no archive"), gzip.compress(bytes(10_240))):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.tar\.gz"):
            cifar.check(path)


def test_a_name_twice_in_an_archive_does_no_harm(copy: Path, tmp_path: Path) -> None:
    archive = tmp_path / "twice.tar"
    with tarfile.open(archive, "w") as tar:
        short = tarfile.TarInfo("other/test_batch.bin")
        short.size = 3
        tar.addfile(short, io.BytesIO(b"abc"))
        tar.add(copy, copy.name)
    with pytest.raises(DataError, match=r"test_batch\.bin with 3 bytes"):
        cifar.load(archive)


@pytest.mark.parametrize("change", [-1, -3073, -10_000, 1, 3073])
def test_a_file_of_the_wrong_length_is_refused(copy: Path, tmp_path: Path, change: int) -> None:
    path = copy / "data_batch_3.bin"
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + bytes(change))
    for place in (copy, archived(copy, tmp_path / "a.tar.gz")):
        for read in (cifar.check, cifar.load):
            with pytest.raises(DataError) as caught:
                read(place)
            assert "data_batch_3.bin" in caught.value.received
            assert ("truncated" if change < 0 else "too long") in caught.value.received


def test_an_official_file_must_have_its_official_length(copy: Path, hundred: Path) -> None:
    for folder, kind in ((copy, CIFAR10), (hundred, CIFAR100)):
        (folder / MARK).unlink()
        with pytest.raises(DataError, match="truncated"):
            cifar.check(folder, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_out_of_range_and_a_missing_file_are_named(kind: Kind, tmp_path: Path) -> None:
    folder = synthesize(tmp_path, train=250, test=60, kind=kind)
    path = folder / kind.binary.files[-1]
    content = bytearray(path.read_bytes())
    content[kind.record * 5 + kind.label_bytes - 1] = len(kind.classes)
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"label {len(kind.classes)} in record 5"):
        cifar.load(folder, kind)
    path.unlink()
    for read in (cifar.check, cifar.load):
        with pytest.raises(DataError, match=rf"no file {path.name}"):
            read(folder, kind)


@pytest.mark.parametrize(
    "mark", ["", "{}", '{"records": {"test_batch.bin": "x"}}', '{"records": {"a": 0}}', "[" * 9999]
)
def test_a_mark_without_counts_is_refused(copy: Path, tmp_path: Path, mark: str) -> None:
    (copy / MARK).write_text(mark)
    for place in (copy, archived(copy, tmp_path / "a.tar")):
        with pytest.raises(DataError, match=MARK):
            cifar.check(place)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": None}, "nothing as data"),
        ({"data": [1, 2]}, "a list of 2 as data"),
        ({"data": np.zeros((5, 3072), np.int8)}, "int8"),
        ({"data": np.zeros((4, 3072), np.uint8)}, r"\(4, 3072\)"),
        ({"data": np.zeros((5, 32, 32, 3), np.uint8)}, r"\(5, 32, 32, 3\)"),
        ({"labels": [0] * 49}, "a list of 49 as labels"),
        ({"labels": ["cat"] * 50}, "a list of 50 as labels"),
        ({"labels": [1.0] * 50}, "a list of 50 as labels"),
        ({"labels": None}, "nothing as labels"),
        ({"labels": [0] * 3 + [10] + [0] * 46}, "label 10 in record 3"),
        ({"labels": [0] * 3 + [-4] + [0] * 46}, "label -1 in record 3"),
        ({"labels": [2**70] + [0] * 49}, "label 2147483647 in record 0"),
    ],
)
def test_a_pickle_without_its_arrays_is_refused(copy: Path, tmp_path: Path, changes: Any, told: str) -> None:
    filled = {"batch_label": b"x" * (160_000 if "data" in changes else 0), **changes}  # long enough for a batch
    with pytest.raises(DataError, match=told) as caught:
        cifar.load(as_python(copy, CIFAR10, tmp_path / "sets", **filled))
    assert "data_batch_1" in caught.value.received


def test_a_damaged_pickle_is_named(copy: Path, tmp_path: Path) -> None:
    folder = as_python(copy, CIFAR10, tmp_path / "sets")
    path = folder / "data_batch_2"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"data_batch_2.*truncated"):
        cifar.check(folder)
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match="data_batch_2"):
        cifar.load(folder)
    path.write_bytes(pickle.dumps([1] * 100_000))
    with pytest.raises(DataError, match="pickled list"):
        cifar.load(folder)
    path.write_bytes(content * 3)
    with pytest.raises(DataError, match="too long"):
        cifar.check(folder)


def test_a_pickle_that_asks_for_a_shell_is_refused(copy: Path, tmp_path: Path) -> None:
    class Asks:
        def __reduce__(self) -> Any:
            return os.system, (f"touch '{tmp_path / 'ran'}'",)

    folder = as_python(copy, CIFAR10, tmp_path / "sets", data=np.zeros((50, 3072), np.uint8), extra=[Asks()])
    for place in (folder, archived(folder, tmp_path / "a.tar.gz")):
        with pytest.raises(DataError, match=r"data_batch_1.*system"):
            cifar.load(place)
    assert not (tmp_path / "ran").exists()


def test_names_in_meta_must_be_100(hundred: Path, tmp_path: Path) -> None:
    folder = as_python(hundred, CIFAR100, tmp_path / "sets")
    assert cifar.load(folder, CIFAR100).classes[99] == "worm"
    for names in ([b"a"] * 99, [3] * 100, "x" * 100):
        (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
        with pytest.raises(DataError, match="meta"):
            cifar.load(folder, CIFAR100)


@pytest.mark.parametrize("kind", KINDS)
def test_binary_comes_before_python_where_both_are_there(kind: Kind, tmp_path: Path) -> None:
    made = synthesize(tmp_path / "made", train=50, test=10, kind=kind)
    sets = tmp_path / "sets"
    folder = as_python(made, kind, sets)
    assert cifar.find(sets, kind) == folder
    assert cifar.find(tmp_path / "nothing", kind) is None
    archive = archived(made, sets / kind.binary.archive)
    assert cifar.find(sets, kind) == archive
    binary = Path(shutil.copytree(made, sets / kind.binary.folder))
    assert cifar.find(sets, kind) == binary
    for path in folder.iterdir():
        if path.name != MARK:
            shutil.copy(path, binary)
    assert cifar.find(binary, kind) == binary
    assert_equal(cifar.load(binary, kind), cifar.load(made, kind))


def test_a_folder_of_anything_is_not_taken_for_cifar_100(hundred: Path, tmp_path: Path) -> None:
    anything = tmp_path / "anything"
    anything.mkdir()
    for name in ("train.bin", "train", "x.tar.gz"):
        (anything / name).write_bytes(b"something else")
    assert cifar.search(anything, CIFAR100) is None
    assert cifar.find(anything, CIFAR100) == anything
    assert cifar.search(anything / "x.tar.gz", CIFAR100) is None
    assert cifar.find(anything / "x.tar.gz", CIFAR100) == anything / "x.tar.gz"
    assert cifar.search(tmp_path, CIFAR100) == cifar.search(hundred, CIFAR100) == hundred


def test_one_kind_is_not_taken_for_the_other(copy: Path, hundred: Path, tmp_path: Path) -> None:
    assert cifar.find(copy, CIFAR100) is None and cifar.find(hundred, CIFAR10) is None
    archive = archived(hundred, tmp_path / "sets" / CIFAR100.binary.archive)
    assert cifar.search(archive, CIFAR10) is None
    with pytest.raises(DataError, match=r"no file data_batch_1\.bin"):
        cifar.check(archive, CIFAR10)


def test_named_places_are_strict_and_search_places_are_not(small_cifar: Path, tmp_path: Path) -> None:
    found = small_cifar / FOLDER
    assert (
        locate(
            "cifar10", named=[("--data", None)], search=[("HPCDL_DATA", str(tmp_path)), ("./data", str(small_cifar))]
        )
        == found
    )
    with pytest.raises(DataError, match="--data"):
        locate("cifar10", named=[("--data", str(tmp_path))], search=[("./data", str(small_cifar))])
    with pytest.raises(DataError, match="HPCDL_DATA"):
        locate("cifar10", named=[], search=[("HPCDL_DATA", None)])
    with pytest.raises(DataError, match="--data"):
        locate("cifar10", named=[("--data", "a" * 5000)], search=[])


def test_the_sources_find_and_read_what_they_imitate(tmp_path: Path) -> None:
    for name in ("mnist", "fashion-mnist", "cifar10", "cifar100", "npz"):
        source, out = SOURCES[name], tmp_path / name
        made = source.synthesize(out, 200, 10, 0)
        assert locate(name, [("--data", str(out))], []) == made == locate(name, [], [("./data", str(out))])
        source.check(made)
        data = source.load(made, Subset(classes=2))
        assert data.name == name and data.synthetic and len(data.classes) == 2
        assert set(data.train.labels.tolist()) <= {0, 1} and 0 < len(data.train) < 200


@pytest.mark.needs("real")
def test_the_real_set_is_whole() -> None:
    path = locate("cifar10", [], [("HPCDL_DATA", os.environ["HPCDL_DATA"])])
    data = cifar.load(path)
    assert not data.synthetic and len(data.train) == 50_000
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    for channel in range(3):
        share = np.bincount(data.train.pixels[..., channel].ravel(), minlength=256) / (50_000 * 1024)
        mean = share @ np.arange(256) / 255
        deviation = np.sqrt(share @ (np.arange(256) / 255 - mean) ** 2)
        assert abs(mean - CIFAR10.mean[channel]) < 3e-3 and abs(deviation - CIFAR10.std[channel]) < 3e-3
