"""A user's own .npz file: what it may hold, and every defect named with its mend."""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcdl.data.sources import arrays
from hpcdl.data.sources.registry import SOURCES, locate
from hpcdl.data.subset import Subset
from hpcdl.errors import DataError


def some(**changes: Any) -> dict[str, Any]:
    """Arrays of a small set; None leaves one out."""
    random = np.random.default_rng(0)
    content = {
        "x_train": random.integers(0, 256, (20, 6, 5, 3), np.uint8),
        "y_train": np.arange(20) % 4,
        "x_test": random.integers(0, 256, (8, 6, 5, 3), np.uint8),
        "y_test": np.arange(8) % 3,
        **changes,
    }
    return {name: array for name, array in content.items() if array is not None}


def write(folder: Path, compressed: bool = False, **changes: Any) -> Path:
    path = folder / "mine.npz"
    (np.savez_compressed if compressed else np.savez)(path, **some(**changes))
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_as_they_were_written(tmp_path: Path, compressed: bool) -> None:
    path, content = write(tmp_path, compressed), some()
    arrays.check(path)
    data = arrays.load(path)
    for split, images in (("train", data.train), ("test", data.test)):
        assert np.array_equal(images.pixels, content[f"x_{split}"]) and images.pixels.dtype == np.uint8
        assert np.array_equal(images.labels, content[f"y_{split}"]) and images.labels.dtype == np.int32
    assert data.classes == ("0", "1", "2", "3") and data.name == "npz"
    assert not data.synthetic and data.path == str(path)


@pytest.mark.parametrize(("shape", "result"), [((28, 28), (28, 28, 1)), ((7, 9, 1), (7, 9, 1)), ((1, 1, 3), (1, 1, 3))])
def test_grey_and_colour_images_may_have_any_size(tmp_path: Path, shape: Any, result: Any) -> None:
    x = np.random.default_rng(1).integers(0, 256, (20, *shape), np.uint8)
    data = arrays.load(write(tmp_path, x_train=x, x_test=x[:8]))
    assert data.train.pixels.shape == (20, *result) and data.test.pixels.shape == (8, *result)
    assert np.array_equal(data.train.pixels.ravel(), x.ravel())
    assert len(data.mean) == len(data.std) == result[-1]


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", ">i4", "int64", "uint64"])
def test_labels_may_be_whole_numbers_of_any_type_and_a_column(tmp_path: Path, kind: str) -> None:
    data = arrays.load(write(tmp_path, y_train=(np.arange(20) % 4).astype(kind)[:, np.newaxis]))
    assert data.train.labels.tolist() == [0, 1, 2, 3] * 5


def test_order_in_memory_does_not_matter(tmp_path: Path) -> None:
    x = some()["x_train"]
    data = arrays.load(write(tmp_path, x_train=np.asfortranarray(x), x_test=x[:8]))
    assert np.array_equal(data.train.pixels, x) and data.train.pixels.flags.c_contiguous


def test_the_test_split_may_be_empty(tmp_path: Path) -> None:
    data = arrays.load(write(tmp_path, x_test=np.zeros((0, 6, 5, 3), np.uint8), y_test=np.zeros(0, int)))
    assert len(data.test) == 0 and data.test.pixels.shape == (0, 6, 5, 3) and len(data.classes) == 4


def test_mean_and_deviation_are_those_of_the_training_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "BLOCK", 7)
    x = some()["x_train"]
    x[..., 2] = 51
    data = arrays.load(write(tmp_path, x_train=x))
    assert np.allclose(data.mean, (x / 255).mean((0, 1, 2)), rtol=1e-12)
    assert np.allclose(data.std[:2], (x / 255).std((0, 1, 2))[:2], rtol=1e-12)
    assert data.std[2] == 1.0  # a constant channel has nothing to divide by


@pytest.mark.parametrize("kind", ["U", "S"])
def test_names_of_classes_are_read(tmp_path: Path, kind: str) -> None:
    names = np.array(["cat", "dog", "a b", "x/y", "more"]).astype(kind)
    path = write(tmp_path, classes=names)
    assert arrays.load(path).classes == ("cat", "dog", "a b", "x/y", "more")
    data = SOURCES["npz"].load(path, Subset(classes=("dog", "cat")))
    assert data.classes == ("dog", "cat") and data.train.labels.tolist() == [1, 0] * 5


OBJECTS = np.array([1, "a", None], dtype=object)


@pytest.mark.parametrize(
    ("changes", "told", "mend"),
    [
        ({"x_test": None}, "without x_test", "savez"),
        ({"y_train": None}, "without y_train", "savez"),
        ({"x_train": np.zeros((20, 6, 5, 3), np.float32)}, "x_train of type float32", r"astype\('uint8'\)"),
        ({"x_test": np.zeros((8, 6, 5, 3), np.float64)}, "x_test of type float64", r"astype\('uint8'\)"),
        ({"x_train": np.zeros((20, 6, 5, 3), np.int16)}, "int16", "uint8"),
        ({"x_train": np.zeros((20, 6, 5, 3), bool)}, "bool", "uint8"),
        ({"x_train": np.zeros((20, 6, 5, 4), np.uint8)}, r"\(20, 6, 5, 4\)", "transparency"),
        ({"x_train": np.zeros((20, 3, 6, 5), np.uint8)}, r"\(20, 3, 6, 5\)", "channels last"),
        ({"x_train": np.zeros((20, 30), np.uint8)}, r"\(20, 30\)", "one image a row"),
        ({"x_train": np.zeros((20, 6, 0, 3), np.uint8)}, r"\(20, 6, 0, 3\)", ""),
        ({"x_train": np.zeros(20, np.uint8)}, r"\(20,\)", ""),
        ({"x_train": np.uint8(3)}, r"shape \(\)", ""),
        ({"x_train": np.zeros((0, 6, 5, 3), np.uint8), "y_train": np.zeros(0, int)}, "no training images", ""),
        ({"x_test": np.zeros((8, 6, 6, 3), np.uint8)}, r"\(6, 5, 3\) and test images \(6, 6, 3\)", "resize"),
        ({"x_test": np.zeros((8, 6, 5), np.uint8)}, r"test images \(6, 5\)", "resize"),
        ({"y_train": np.zeros(19, int)}, r"y_train of type int64 and shape \(19,\)", "as many labels as images"),
        ({"y_test": np.zeros((8, 4))}, r"y_test .*\(8, 4\)", r"argmax\(1\)"),
        ({"y_test": np.zeros((1, 8), int)}, r"y_test .*\(1, 8\)", ""),
        ({"y_train": np.zeros(20)}, "y_train of type float64", r"astype\('int64'\)"),
        ({"y_train": np.zeros(20, bool)}, "y_train of type bool", "astype"),
        ({"y_train": np.array(["cat"] * 20)}, "y_train of type <U3", "astype"),
        ({"y_train": np.array([0] * 9 + [-1] + [0] * 10)}, "y_train with label -1 at 9", "from 0"),
        ({"y_test": np.full(8, 10**12)}, "label 1000000000000", "from 0"),
        ({"y_test": np.full(8, 2**64 - 1, np.uint64)}, "label 18446744073709551615", "from 0"),
        ({"classes": np.array(["a", "b", "c"])}, "y_train with label 3 at 3", "name all of them"),
        ({"classes": np.array(["a", "b", "c", "a"])}, "4 classes with 3 different", ""),
        ({"classes": np.array([], dtype="U3")}, "0 classes", ""),
        ({"classes": np.arange(4)}, "classes of type int64", "dtype=str"),
        ({"classes": np.array([["a", "b"], ["c", "d"]])}, r"\(2, 2\)", "dtype=str"),
        ({"classes": OBJECTS}, "classes holds Python objects", "astype"),
        ({"x_train": OBJECTS}, "x_train holds Python objects", "astype"),
        ({"y_test": OBJECTS}, "y_test holds Python objects", "astype"),
    ],
)
def test_each_defect_is_named_with_its_mend(tmp_path: Path, changes: Any, told: str, mend: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(DataError, match=told) as caught:
        arrays.load(path)
    assert str(path) in caught.value.received
    assert re.search(mend, caught.value.fix)
    if "label" not in caught.value.received.split(": ", 1)[-1] and "different" not in caught.value.received:
        with pytest.raises(DataError, match=told):
            arrays.check(path)


def test_a_pickle_in_the_file_is_not_run(tmp_path: Path) -> None:
    class Asks:
        def __reduce__(self) -> Any:
            return os.system, (f"touch '{tmp_path / 'ran'}'",)

    path = write(tmp_path, y_train=np.array([Asks()] * 20, dtype=object))
    for read in (arrays.check, arrays.load):
        with pytest.raises(DataError, match="Python objects"):
            read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", pickle.dumps(Asks()))
    with pytest.raises(DataError, match=r"mine\.npz"):
        arrays.load(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04", bytes(1000)])
def test_a_file_that_is_no_zip_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.npz"):
        arrays.check(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_every_cut_is_noticed_before_anything_starts(tmp_path: Path, compressed: bool) -> None:
    path = write(tmp_path, compressed)
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 61), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"mine\.npz"):
            arrays.check(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_changed_bytes_give_the_same_arrays_or_a_data_error(tmp_path: Path, compressed: bool) -> None:
    path = write(tmp_path, compressed, classes=np.array(["a", "b", "c", "d"]))
    whole, right = path.read_bytes(), arrays.load(path)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            data = arrays.load(path)
        except DataError:
            refused += 1
            continue
        for split in ("train", "test"):
            assert np.array_equal(getattr(data, split).pixels, getattr(right, split).pixels)
            assert np.array_equal(getattr(data, split).labels, getattr(right, split).labels)
    assert refused > 200


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 99999, 5, 3), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-20, -6, 5, 3), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (20, 6, 5), }",
        b"{'descr': '|u1', 'fortran_order': False, }",
        b"{'descr': 'no', 'fortran_order': False, 'shape': (20, 6, 5, 3), }",
        b"__import__('os').system('touch ran')",
        b"(" * 5000,
        b"'",
        b"{'a': " * 90,
        b"\xff\xfe",
        b"x" * 60_000,
    ],
)
def test_a_header_that_is_not_true_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in some().items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            if name == "x_train":
                begin = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n"
                buffer = io.BytesIO(begin + array.tobytes())
            archive.writestr(f"{name}.npy", buffer.getvalue())
    for read in (arrays.check, arrays.load):
        with pytest.raises(DataError, match=r"mine\.npz"):
            read(path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.npz"]


def test_an_array_longer_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    for extra, told in ((b"abc", "too long"), (None, "truncated")):
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in some().items():
                buffer = io.BytesIO()
                np.save(buffer, array)
                content = buffer.getvalue()
                if name == "y_test":
                    content = content + extra if extra else content[:-1]
                archive.writestr(f"{name}.npy", content)
        with pytest.raises(DataError, match=f"y_test with .*{told}"):
            arrays.check(path)


def test_a_file_is_found_by_its_path_or_as_the_only_one(tmp_path: Path) -> None:
    assert arrays.find(tmp_path) is None
    path = write(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.npz").write_text("x")
    (tmp_path / "folder.npz").mkdir()
    assert arrays.find(tmp_path) == arrays.find(path) == path
    assert arrays.find(tmp_path / "notes.txt") is None
    (tmp_path / "second.npz").write_bytes(path.read_bytes())
    assert arrays.find(tmp_path) is None and arrays.find(path) == path
    with pytest.raises(DataError, match="--data") as caught:
        locate("npz", [("--data", str(tmp_path))], [])
    assert "exactly one" in caught.value.expected


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npz: No such file"):
        arrays.load(tmp_path / "gone.npz")
