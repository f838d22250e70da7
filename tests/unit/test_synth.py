"""Stand-ins: in the official layout, the same for equal arguments, learnable, and never over data."""

from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from hpcdl.data.images import Images
from hpcdl.data.sources import synth
from hpcdl.data.sources.cifar import CIFAR10, CIFAR100
from hpcdl.data.sources.registry import SOURCES
from hpcdl.data.subset import ALL
from hpcdl.errors import DataError

NAMES = ("mnist", "fashion-mnist", "cifar10", "cifar100", "npz")


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in ([path] if path.is_file() else sorted(path.iterdir()))}


@pytest.mark.parametrize("name", NAMES)
def test_equal_arguments_give_equal_bytes(name: str, tmp_path: Path) -> None:
    make = SOURCES[name].synthesize
    first = content(make(tmp_path / "a", 1105, 20, 3))
    assert content(make(tmp_path / "b", 1105, 20, 3)) == first
    assert content(make(tmp_path / "c", 1105, 20, 4)) != first


def test_cifar_10_keeps_its_bytes(tmp_path: Path) -> None:
    """Figures of tests and of earlier runs are of these images."""
    folder = synth.cifar(tmp_path, train=250, test=60)
    sums = {name: sha256(data).hexdigest() for name, data in content(folder).items()}
    assert sums["data_batch_1.bin"] == "572b57a615659cfd59d4a1e0ad9e7233a9f7c768e1bce765aadd135f7c2a3b82"
    assert sums["test_batch.bin"] == "4b6eb0828418fb849b82d45ddbbe36f5991d3b7401afc77e431536d7e93e97e3"
    assert sums["synthetic.json"] == "b678b5697e25226321127172c38a5919e16907cb5669b066fe6906c11ff611b3"


@pytest.mark.parametrize(
    ("name", "train", "images", "least"),
    [
        ("mnist", 1000, 300, 0.3),
        ("fashion-mnist", 1000, 300, 0.3),
        ("cifar10", 1000, 300, 0.3),
        ("cifar100", 5000, 300, 0.03),
        ("npz", 1000, 300, 0.3),
    ],
)
def test_a_stand_in_can_be_learned(name: str, train: int, images: int, least: float, tmp_path: Path) -> None:
    """The nearest class mean is right far more often than chance."""
    source = SOURCES[name]
    data = source.load(source.synthesize(tmp_path, train, images, 0), ALL)
    assert isinstance(data.train, Images) and isinstance(data.test, Images)
    assert len(data.train) == train and len(data.test) == images and data.synthetic
    known, asked = (split.pixels.reshape(len(split), -1) / np.float32(255) for split in (data.train, data.test))
    means = np.stack([known[data.train.labels == label].mean(0) for label in range(len(data.classes))])
    distance = (means**2).sum(1) - 2 * asked @ means.T
    assert (distance.argmin(1) == data.test.labels).mean() > least


@pytest.mark.parametrize("name", NAMES)
def test_the_layout_is_the_official_one(name: str, tmp_path: Path) -> None:
    source = SOURCES[name]
    made = source.synthesize(tmp_path, 50, 7, 0)
    assert source.find(tmp_path) == made and (source.search or source.find)(tmp_path) == made
    source.check(made)
    names = {
        "mnist": {
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
            "synthetic.json",
        },
        "cifar10": {*CIFAR10.binary.files, "batches.meta.txt", "synthetic.json"},
        "cifar100": {"train.bin", "test.bin", "fine_label_names.txt", "synthetic.json"},
        "npz": {"synthetic.npz"},
    }
    assert set(content(made)) == names["mnist" if name == "fashion-mnist" else name]


def test_idx_files_begin_as_published(tmp_path: Path) -> None:
    """Against the bytes of the official files' headers, but for the counts."""
    folder = synth.mnist(tmp_path, train=5, test=3)
    images = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    zipped = (folder / "train-images-idx3-ubyte.gz").read_bytes()
    assert zipped[3:8] == bytes(5)  # neither a file name nor a time, which would differ from run to run
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    assert images[:16].hex() == "00000803" + "00000005" + "0000001c" + "0000001c" and len(images) == 16 + 5 * 784
    assert labels[:8].hex() == "00000801" + "00000003" and len(labels) == 8 + 3


def test_records_of_cifar_100_have_a_coarse_and_a_fine_label(tmp_path: Path) -> None:
    folder = synth.cifar(tmp_path, train=500, test=10, kind=CIFAR100)
    records = np.fromfile(folder / "train.bin", np.uint8).reshape(500, 3074)
    assert records[:, 0].max() < 20 and records[:, 1].max() > 90
    assert (folder / "fine_label_names.txt").read_text().split() == list(CIFAR100.classes)


def test_the_npz_file_is_read_by_numpy_and_has_no_time_in_it(tmp_path: Path) -> None:
    path = synth.npz(tmp_path, train=50, test=7)
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["x_train"].shape == (50, 32, 32, 3) and arrays["x_train"].dtype == np.uint8
        assert arrays["y_test"].shape == (7,)
    with zipfile.ZipFile(path) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


@pytest.mark.parametrize("name", NAMES)
def test_a_stand_in_is_never_written_over_data(name: str, tmp_path: Path) -> None:
    made = SOURCES[name].synthesize(tmp_path, 50, 7, 0)
    before = content(made)
    with pytest.raises(DataError, match="exists"):
        SOURCES[name].synthesize(tmp_path, 100, 7, 1)
    assert content(made) == before and list(tmp_path.iterdir()) == [made]


def test_a_second_npz_file_is_not_put_beside_the_first(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"mine\.npz"):
        synth.npz(tmp_path, train=50, test=7)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("train", "test"), [(0, 1), (-5, 1), (5, 0), (5, -1)])
def test_counts_that_make_no_set_are_refused(name: str, train: int, test: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{train} training and {test} test images"):
        SOURCES[name].synthesize(tmp_path / "out", train, test, 0)
    assert not (tmp_path / "out").exists()


def test_cifar_10_takes_multiples_of_its_five_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="multiple of 5"):
        synth.cifar(tmp_path, train=7, test=1)


@pytest.mark.parametrize("make", [synth.cifar, synth.mnist, synth.npz])
def test_a_failure_leaves_nothing_behind(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        make(tmp_path, 50, 7)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file"):
        make(tmp_path / "file", 50, 7)


def test_official_sizes_are_what_comes_of_no_counts() -> None:
    sizes = {name: SOURCES[name].counts for name in NAMES[:4]}
    assert sizes == {
        "mnist": (60_000, 10_000),
        "fashion-mnist": (60_000, 10_000),
        "cifar10": (50_000, 10_000),
        "cifar100": (50_000, 10_000),
    }
