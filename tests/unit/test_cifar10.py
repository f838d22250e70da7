"""CIFAR-10 in its binary layout: read from folder and archive, and every damage named."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from hpcdl.data import cifar10
from hpcdl.data.cifar10_synth import synthesize
from hpcdl.data.sources import locate
from hpcdl.errors import DataError


@pytest.fixture
def copy(small_cifar: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(small_cifar / cifar10.FOLDER, tmp_path / cifar10.FOLDER))


def test_pixels_and_labels_are_where_the_layout_says(tmp_path: Path) -> None:
    folder = tmp_path / cifar10.FOLDER
    folder.mkdir()
    records = np.zeros((10_000, 3073), np.uint8)
    records[:, 0] = np.arange(10_000) % 10
    records[7, 1 + 0 * 1024 + 2 * 32 + 3] = 11  # red of row 2, column 3
    records[7, 1 + 1 * 1024 + 2 * 32 + 3] = 22  # green
    records[7, 1 + 2 * 1024 + 2 * 32 + 3] = 33  # blue
    for name in (*cifar10.TRAIN_FILES, cifar10.TEST_FILE):
        records.tofile(folder / name)
    data = cifar10.load(folder)
    assert len(data.train) == 50_000 and len(data.test) == 10_000
    assert data.train.pixels.shape == (50_000, 32, 32, 3)
    assert data.train.pixels[7, 2, 3].tolist() == [11, 22, 33]
    assert data.train.pixels[10_007, 2, 3].tolist() == [11, 22, 33]
    assert data.test.labels[:12].tolist() == [*range(10), 0, 1]
    assert not data.synthetic and data.origin.startswith("real")


def test_the_stand_in_repeats_bit_for_bit_and_says_what_it_is(small_cifar: Path, tmp_path: Path) -> None:
    synthesize(tmp_path, train=250, test=60)
    for name in (*cifar10.TRAIN_FILES, cifar10.TEST_FILE):
        assert (tmp_path / cifar10.FOLDER / name).read_bytes() == (small_cifar / cifar10.FOLDER / name).read_bytes()
    data = cifar10.load(small_cifar / cifar10.FOLDER)
    assert data.synthetic and "synthetic" in data.origin
    assert set(data.train.labels.tolist()) == set(range(10))


def test_the_stand_in_can_be_learned(tmp_path: Path) -> None:
    """The nearest class mean is right far more often than chance."""
    synthesize(tmp_path, train=1000, test=300)
    data = cifar10.load(tmp_path / cifar10.FOLDER)
    train, test = data.train.pixels.reshape(1000, -1) / 255.0, data.test.pixels.reshape(300, -1) / 255.0
    means = np.stack([train[data.train.labels == label].mean(0) for label in range(10)])
    nearest = np.argmin(((test[:, None] - means[None]) ** 2).sum(-1), axis=1)
    assert (nearest == data.test.labels).mean() > 0.3


def test_the_archive_gives_what_the_folder_gives(copy: Path, tmp_path: Path) -> None:
    archive = tmp_path / "sets" / cifar10.ARCHIVE
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(copy, cifar10.FOLDER)
    assert cifar10.find(archive.parent) == archive
    from_archive, from_folder = cifar10.load(archive), cifar10.load(copy)
    assert np.array_equal(from_archive.train.pixels, from_folder.train.pixels)
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(DataError, match="whole archive"):
        cifar10.load(archive)


@pytest.mark.parametrize("change", [-1, -3073, -10_000, 1, 3073])
def test_a_file_of_the_wrong_length_is_refused(copy: Path, change: int) -> None:
    path = copy / "data_batch_3.bin"
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(DataError) as caught:
        cifar10.load(copy)
    assert "data_batch_3.bin" in caught.value.received
    assert ("truncated" if change < 0 else "too long") in caught.value.received


def test_an_official_file_must_have_its_official_length(copy: Path) -> None:
    (copy / cifar10.MARK).unlink()
    with pytest.raises(DataError, match="truncated"):
        cifar10.load(copy)


def test_a_label_out_of_range_and_a_missing_file_are_named(copy: Path) -> None:
    path = copy / cifar10.TEST_FILE
    content = bytearray(path.read_bytes())
    content[3073 * 5] = 10
    path.write_bytes(content)
    with pytest.raises(DataError, match="label 10 in record 5"):
        cifar10.load(copy)
    path.unlink()
    with pytest.raises(DataError, match=r"test_batch\.bin"):
        cifar10.load(copy)


def test_a_stand_in_is_never_written_over_data(copy: Path) -> None:
    before = (copy / cifar10.TEST_FILE).read_bytes()
    with pytest.raises(DataError, match="exists"):
        synthesize(copy.parent, train=50, test=10)
    assert (copy / cifar10.TEST_FILE).read_bytes() == before
    assert [path.name for path in copy.parent.iterdir()] == [cifar10.FOLDER]


def test_named_places_are_strict_and_search_places_are_not(small_cifar: Path, tmp_path: Path) -> None:
    found = small_cifar / cifar10.FOLDER
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
