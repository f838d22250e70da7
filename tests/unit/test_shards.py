"""Shards: what TensorFlow and Pillow find in them is what went in, and damage is named where it is read."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import Image

from hpcdl.data.images import Encoded, Images, ImageSet
from hpcdl.data.shards import reader, tfrecord
from hpcdl.data.shards.manifest import check, find
from hpcdl.data.shards.prepare import prepare
from hpcdl.data.shards.request import Request
from hpcdl.data.sources.registry import SOURCES
from hpcdl.data.subset import ALL, Subset, narrow
from hpcdl.errors import DataError

CLASSES = ("ant", "bee", "cat")
FEATURES = {
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/channels": tf.io.FixedLenFeature([], tf.int64),
    "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    "image/class/text": tf.io.FixedLenFeature([], tf.string),
    "image/filename": tf.io.FixedLenFeature([], tf.string),
    "image/format": tf.io.FixedLenFeature([], tf.string),
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
}
Prepared = Callable[..., Path]


def image_set(path: Path, train: Any, test: Any) -> ImageSet:
    return ImageSet("fake", train, test, CLASSES, str(path), True, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def in_memory(path: Path, train: int = 40, test: int = 9) -> ImageSet:
    """Random pixels, 6 x 5."""
    random = np.random.default_rng(1)

    def split(count: int) -> Images:
        return Images(
            random.integers(0, 256, (count, 6, 5, 3), dtype=np.uint8), random.integers(0, 3, count).astype(np.int32)
        )

    return image_set(path, split(train), split(test))


def as_files(path: Path, train: int = 30, test: int = 7) -> ImageSet:
    """JPEG files of many sizes, in memory; every third is grey."""
    random = np.random.default_rng(2)

    def split(name: str, count: int) -> Encoded:
        files = []
        for place in range(count):
            shape = (10 + place, 20 + place % 7) if place % 3 == 0 else (10 + place, 20 + place % 7, 3)
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(file, "JPEG")
            files.append(file.getvalue())
        labels = random.integers(0, 3, count).astype(np.int32)
        return Encoded(
            labels,
            lambda places: [files[place] for place in places],
            lambda place: f"{path.absolute()}/{name}/{place}.JPEG",
        )

    return image_set(path, split("train", train), split("test", test))


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Prepares a set of images into a folder of several shards."""

    def run(images: ImageSet, **options: Any) -> Path:
        fake = replace(SOURCES["npz"], check=lambda path: None, load=lambda path, subset: narrow(images, subset))
        monkeypatch.setitem(SOURCES, "fake", fake)
        out = tmp_path / "shards"
        prepare(Request("fake", Path(images.path), out, **{"shard_mb": 0.0025, **options}), lambda counts, total: None)
        return out

    return run


def parsed(out: Path, split: str) -> list[dict[str, Any]]:
    """What TensorFlow reads, in the order of the shards."""
    files = sorted(str(path) for path in out.glob(f"{split}-*.tfrecord"))
    assert len(files) > 1
    records = [tf.io.parse_single_example(record, FEATURES) for record in tf.data.TFRecordDataset(files)]
    return [{name: value.numpy() for name, value in record.items()} for record in records]


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_of_the_standards_examples(data: bytes, crc: int) -> None:
    """RFC 3720, appendix B.4; the first is the usual check value."""
    assert tfrecord.crc32c(data) == crc


def test_crc32c_of_any_length_is_what_its_definition_gives() -> None:
    def bit_by_bit(data: bytes) -> int:
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF

    data = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    for length in (0, 1, 3, 4, 15, 16, 17, 1023, 1024, 1025, 1039, 1040, 2048, 5000):
        assert tfrecord.crc32c(data[:length]) == bit_by_bit(data[:length]), length


def test_records_are_the_bytes_that_tensorflow_writes(tmp_path: Path) -> None:
    content = [os.urandom(length) for length in (0, 1, 16, 1000, 300_000)]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for data in content:
            writer.write(data)
    ours = b"".join(tfrecord.record(data) for data in content)
    assert (tmp_path / "theirs").read_bytes() == ours
    assert [found.data for found in tfrecord.read_records(tmp_path / "theirs", checked=True)] == content


def test_an_example_of_tensorflow_is_parsed_and_ours_by_tensorflow() -> None:
    message = tf.train.Example()
    message.features.feature["number"].int64_list.value.append(2**40 + 3)
    message.features.feature["bytes"].bytes_list.value.append(b"abc" * 99)
    theirs = message.SerializeToString()
    found = tfrecord.parse_example(theirs)
    place = found["bytes"]
    assert isinstance(place, range) and theirs[place.start : place.stop] == b"abc" * 99
    assert found["number"] == 2**40 + 3
    ours = tfrecord.example({"number": 2**40 + 3, "zero": 0}, last=("bytes", b"abc" * 99))
    features = tf.train.Example.FromString(ours).features.feature
    assert features["number"].int64_list.value[:] == [2**40 + 3] and features["zero"].int64_list.value[:] == [0]
    assert ours.endswith(features["bytes"].bytes_list.value[0]) and len(features) == 3


def test_tensorflow_reads_pixels_and_labels_as_they_went_in(tmp_path: Path, prepared: Prepared) -> None:
    images = in_memory(tmp_path)
    out = prepared(images)
    for name, split in (("train", images.train), ("test", images.test)):
        places = []
        for record in parsed(out, name):
            place = int(record["image/filename"].decode().removeprefix("image "))
            places.append(place)
            assert isinstance(split, Images)
            assert record["image/encoded"] == split.pixels[place].tobytes()
            assert record["image/class/label"] == split.labels[place]
            assert record["image/class/text"].decode() == CLASSES[split.labels[place]]
            assert record["image/format"] == b"pixels"
            assert [record[f"image/{key}"] for key in ("height", "width", "channels")] == [6, 5, 3]
        assert sorted(places) == list(range(len(split)))
        assert (places == sorted(places)) == (name == "test")


def test_tensorflow_reads_jpeg_files_with_their_names(tmp_path: Path, prepared: Prepared) -> None:
    images = as_files(tmp_path)
    for name, split in (("train", images.train), ("test", images.test)):
        for record in parsed(prepared(images), name):
            place = int(record["image/filename"].decode().removeprefix(f"{name}/").removesuffix(".JPEG"))
            assert record["image/encoded"] == split.read(np.array([place]))[0]
            assert record["image/class/label"] == split.labels[place] and record["image/format"] == b"jpeg"
            shape = [int(record[f"image/{key}"]) for key in ("height", "width", "channels")]
            assert shape == [10 + place, 20 + place % 7, 1 if place % 3 == 0 else 3]
            assert list(tf.io.decode_jpeg(record["image/encoded"]).shape) == shape


def test_the_index_leads_to_what_tensorflow_finds(tmp_path: Path, prepared: Prepared) -> None:
    out = prepared(as_files(tmp_path))
    rows = np.load(out / "train.index.npy", mmap_mode="r", allow_pickle=False)
    files = sorted(out.glob("train-*.tfrecord"))
    for row, record in zip(rows, parsed(out, "train"), strict=True):
        content = files[row["shard"]].read_bytes()
        assert content[row["offset"] :][: row["length"]] == record["image/encoded"]
        assert row["label"] == record["image/class/label"]
        assert [row[key] for key in ("height", "width", "channels")] == [
            record[f"image/{key}"] for key in ("height", "width", "channels")
        ]


def test_the_manifest_tells_what_is_there(tmp_path: Path, prepared: Prepared) -> None:
    images = as_files(tmp_path)
    out = prepared(images, seed=5)
    manifest = json.loads((out / "manifest.json").read_text())
    names = {path.name for path in out.iterdir()}
    told = {manifest[split]["index"]["name"] for split in ("train", "test")}
    for split, part in (("train", images.train), ("test", images.test)):
        said = manifest[split]
        assert said["samples"] == len(part) and said["by_class"] == np.bincount(part.labels, minlength=3).tolist()
        assert said["height"] == [10, 10 + len(part) - 1] and said["width"] == [20, 26]
        assert said["skipped"] == [] and said["converted"] == []
        for file in (*said["shards"], said["index"]):
            content = (out / file["name"]).read_bytes()
            assert file["bytes"] == len(content) and file["sha256"] == hashlib.sha256(content).hexdigest()
        told |= {shard["name"] for shard in said["shards"]}
    assert names == told | {"manifest.json", "manifest.sha256"}
    assert manifest["schema"] == 1 and manifest["synthetic"] is True and manifest["classes"] == list(CLASSES)
    assert manifest["mean"] == [0.1, 0.2, 0.3] and manifest["std"] == [0.4, 0.5, 0.6]
    assert manifest["store"] == "jpeg" and manifest["train"]["order"] == "shuffled with seed 5"
    assert manifest["test"]["order"] == "as in the source" and manifest["origin"] == images.origin
    digest = hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()
    assert (out / "manifest.sha256").read_text() == f"{digest}  manifest.json\n"


def test_the_set_comes_back(tmp_path: Path, prepared: Prepared) -> None:
    images = in_memory(tmp_path)
    loaded = reader.load(prepared(images), ALL)
    assert isinstance(images.train, Images) and isinstance(loaded.train, Images) and isinstance(loaded.test, Images)
    assert isinstance(images.test, Images)
    assert np.array_equal(loaded.test.pixels, images.test.pixels)
    assert np.array_equal(loaded.test.labels, images.test.labels)
    assert contents(loaded.train) == contents(images.train) and loaded.train.labels.dtype == np.int32
    assert not np.array_equal(loaded.train.labels, images.train.labels)
    same = ("classes", "mean", "std", "synthetic", "name", "origin")
    assert [getattr(loaded, key) for key in same] == [getattr(images, key) for key in same]


def contents(split: Images) -> list[tuple[bytes, int]]:
    return sorted((pixels.tobytes(), int(label)) for pixels, label in zip(split.pixels, split.labels, strict=True))


def test_a_subset_is_of_the_classes_named(tmp_path: Path, prepared: Prepared) -> None:
    images = in_memory(tmp_path)
    loaded = reader.load(prepared(images), Subset(("cat", "ant"), 4))
    assert loaded.classes == ("cat", "ant") and np.bincount(loaded.train.labels).tolist() == [4, 4]
    assert isinstance(images.train, Images) and isinstance(loaded.train, Images)
    cats = {pixels.tobytes() for pixels in images.train.pixels[images.train.labels == 2]}
    assert all(pixels.tobytes() in cats for pixels in loaded.train.pixels[loaded.train.labels == 0])


def test_pixels_of_several_shapes_stay_in_their_files(tmp_path: Path, prepared: Prepared) -> None:
    images = as_files(tmp_path)
    loaded = reader.load(prepared(images, store="pixels"), ALL)
    assert isinstance(loaded.test, Encoded) and loaded.test.shapes is not None
    for place, data in enumerate(loaded.test.read(np.arange(len(loaded.test)))):
        expected = Image.open(io.BytesIO(images.test.read(np.array([place]))[0])).convert("RGB")
        pixels = np.frombuffer(data, np.uint8).reshape(loaded.test.shapes[place])
        assert np.array_equal(pixels, np.asarray(expected))


def test_more_pixels_than_memory_should_hold_stay_in_their_files(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "IN_MEMORY", 49 * 90 - 1)
    images = in_memory(tmp_path)
    loaded = reader.load(prepared(images), ALL)
    assert isinstance(loaded.test, Encoded) and isinstance(images.test, Images)
    assert b"".join(loaded.test.read(np.arange(9))) == images.test.pixels.tobytes()


def test_a_set_without_test_images_comes_back(tmp_path: Path, prepared: Prepared) -> None:
    loaded = reader.load(prepared(in_memory(tmp_path, test=0)), ALL)
    assert len(loaded.test) == 0 and isinstance(loaded.test, Images) and loaded.test.pixels.shape == (0, 6, 5, 3)
    assert len(reader.load(prepared(as_files(tmp_path, test=0), overwrite=True), ALL).test) == 0


def test_threads_read_more_shards_than_may_be_open(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = as_files(tmp_path)
    out = prepared(images)
    monkeypatch.setattr(reader.resource, "getrlimit", lambda kind: (4, 4))
    loaded = reader.load(out, ALL)
    expected = loaded.train.read(np.arange(30))
    assert sorted(expected) == sorted(images.train.read(np.arange(30)))
    with ThreadPoolExecutor(8) as pool:
        for turn in range(5):
            order = np.random.default_rng(turn).permutation(30)
            found = list(pool.map(lambda place: loaded.train.read(np.array([place]))[0], order))
            assert found == [expected[place] for place in order]
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and link.exists()]
    assert 0 < sum(str(out) in path for path in held) <= 4  # two splits' readers, two files each


def test_a_shard_that_is_cut_later_is_named_with_the_record(tmp_path: Path, prepared: Prepared) -> None:
    out = prepared(as_files(tmp_path))
    loaded = reader.load(out, ALL)
    name = loaded.train.name(29)
    file, record = name.split(" record ")
    os.truncate(out / file, (out / file).stat().st_size - 10)
    with pytest.raises(DataError, match=f"{file} record {record}: the shard ends"):
        loaded.train.read(np.array([3, 29]))
    assert loaded.train.read(np.array([0]))
    file = loaded.test.name(6).split(" ")[0]
    (out / file).unlink()
    with pytest.raises(DataError, match=f"{loaded.test.name(6)}: No such file"):
        loaded.test.read(np.array([6]))


def test_names_count_records_within_their_shard(tmp_path: Path, prepared: Prepared) -> None:
    out = prepared(as_files(tmp_path))
    loaded = reader.load(out, ALL)
    names = []
    for path in sorted(out.glob("train-*.tfrecord")):
        names += [f"{path.name} record {number}" for number, _ in enumerate(tf.data.TFRecordDataset(str(path)))]
    assert [loaded.train.name(place) for place in range(30)] == names


def test_a_folder_of_shards_is_found_whole_or_not(tmp_path: Path, prepared: Prepared) -> None:
    assert find(tmp_path) is None and find(tmp_path / "nothing") is None
    (tmp_path / "manifest.json").write_text('{"name": "an app"}')
    assert find(tmp_path) is None
    out = prepared(in_memory(tmp_path))
    assert find(out) == out
    (out / "manifest.sha256").unlink()
    assert find(out) == out
    (tmp_path / "begun" / ".parts").mkdir(parents=True)
    (tmp_path / "begun" / ".parts" / "plan.json").write_text("{}")
    assert find(tmp_path / "begun") == tmp_path / "begun"
    with pytest.raises(DataError, match="not all written"):
        check(tmp_path / "begun")


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("name", ["test-00001-of-00002.tfrecord", "test.index.npy", "manifest.json", "manifest.sha256"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, path.stat().st_size - 1), _append])
def test_what_is_missing_or_of_another_length_is_refused(
    tmp_path: Path, prepared: Prepared, name: str, damage: Callable[[Path], None]
) -> None:
    out = prepared(in_memory(tmp_path))
    check(out)
    damage(out / name)
    for reads in (check, lambda path: reader.load(path, ALL)):
        with pytest.raises(DataError) as caught:
            reads(out)
        assert name in str(caught.value)


def rewrite(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the manifest, and its digest with it."""
    manifest = json.loads((out / "manifest.json").read_text())
    change(manifest)
    content = json.dumps(manifest).encode()
    (out / "manifest.json").write_bytes(content)
    (out / "manifest.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  manifest.json\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda manifest: manifest.update(schema=2), "schema"),
        (lambda manifest: manifest.update(surprise=1), "surprise"),
        (lambda manifest: manifest.pop("mean"), "mean"),
        (lambda manifest: manifest["test"]["shards"][0].update(name="../../etc/passwd"), "shards of the test split"),
        (lambda manifest: manifest["test"]["index"].update(name="/etc/passwd"), "index of the test split"),
        (lambda manifest: manifest["train"].update(samples=3), "train split's samples"),
        (lambda manifest: manifest["classes"].append("dog"), "samples"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, prepared: Prepared, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    out = prepared(in_memory(tmp_path))
    rewrite(out, change)
    with pytest.raises(DataError, match=told):
        check(out)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows["label"].__setitem__(3, 3), "label"),
        (lambda rows: rows["label"].__setitem__(3, -1), "label"),
        (lambda rows: rows["label"].__setitem__(slice(None), 0), "classes"),
        (lambda rows: rows["offset"].__setitem__(3, 2**62), "beyond"),
        (lambda rows: rows["offset"].__setitem__(3, -1), "beyond"),
        (lambda rows: rows["length"].__setitem__(3, 2**62), "beyond"),
        (lambda rows: rows["shard"].__setitem__(3, 1), "shards of its rows"),
        (lambda rows: rows["height"].__setitem__(3, 7), "height x width"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(
    tmp_path: Path, prepared: Prepared, change: Callable[[npt.NDArray[np.void]], None], told: str
) -> None:
    out = prepared(in_memory(tmp_path))
    rows = np.load(out / "train.index.npy")
    change(rows)
    np.save(out / "train.index.npy", rows)
    with pytest.raises(DataError, match=rf"train\.index\.npy.*{told}"):
        reader.load(out, ALL)


def test_an_index_is_never_unpickled(tmp_path: Path, prepared: Prepared) -> None:
    out = prepared(in_memory(tmp_path))
    path = out / "train.index.npy"
    size = path.stat().st_size
    np.save(path, np.array([Path("a")], dtype=object), allow_pickle=True)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    with pytest.raises(DataError, match=r"train\.index\.npy"):
        reader.load(out, ALL)
