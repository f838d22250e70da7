"""Verifying: every kind of damage is found, and told with its file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hpcdl.data.images import Encoded, Images, ImageSet
from hpcdl.data.shards.prepare import prepare
from hpcdl.data.shards.request import Request
from hpcdl.data.shards.tfrecord import read_records, record
from hpcdl.data.shards.verify import Finding, verify_shards, verify_source
from hpcdl.data.shards.workers import Counts
from hpcdl.data.sources.registry import SOURCES
from hpcdl.data.subset import narrow
from hpcdl.errors import DataError

SHARD, OTHER = "train-00001-of-00003.tfrecord", "train-00002-of-00003.tfrecord"


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


FILES = [jpeg(seed) for seed in range(40)]


def split_of(files: list[bytes], labels: int = 3) -> Encoded:
    return Encoded(
        (np.arange(len(files)) % labels).astype(np.int32),
        lambda places: [files[place] for place in places],
        lambda place: f"{place}.JPEG",
    )


def register(monkeypatch: pytest.MonkeyPatch, train: Images | Encoded, test: Images | Encoded) -> None:
    images = ImageSet("fake", train, test, ("a", "b", "c"), "nowhere", False, (0.5,) * 3, (0.5,) * 3)
    fake = replace(SOURCES["npz"], check=lambda path: None, load=lambda path, subset: narrow(images, subset))
    monkeypatch.setitem(SOURCES, "fake", fake)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of about 10 training images each, and one of 8 test images; each image has the same length."""
    out = tmp_path_factory.mktemp("whole") / "shards"
    with pytest.MonkeyPatch.context() as monkeypatch:
        random = np.random.default_rng(7)
        pixels = random.integers(0, 256, (40, 9, 7, 3), dtype=np.uint8)
        labels = (np.arange(40) % 3).astype(np.int32)
        register(monkeypatch, Images(pixels[:30], labels[:30]), Images(pixels[30:], labels[30:]))
        prepare(Request("fake", Path("nowhere"), out, shard_mb=0.0046), lambda counts, total: None)
    assert len(list(out.glob("train-*-of-00003.tfrecord"))) == 3
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "shards"))


def found(path: Path) -> dict[str, str]:
    findings = verify_shards(path, 1, lambda counts, total: None).findings
    assert len({finding.file for finding in findings}) == len(findings)
    return {finding.file: finding.what for finding in findings}


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_whole_folder_has_no_findings(whole: Path) -> None:
    seen: list[tuple[Counts, int]] = []
    report = verify_shards(whole, 1, lambda counts, total: seen.append((counts, total)))
    assert report.findings == [] and report.images == 40 and report.files == len(list(whole.iterdir()))
    assert seen[-1] == (Counts(done=40), 40)


def test_any_flipped_bit_of_a_shard_is_found_with_its_record(copy: Path) -> None:
    """In each part of a record: length, its CRC, message, image, CRC of the data."""
    content = (copy / SHARD).read_bytes()
    records = list(read_records(copy / SHARD, checked=True))
    for number in (0, 4, len(records) - 1):
        start = records[number].offset
        for place in (start - 12, start - 5, start - 1, start, start + 40, start + len(records[number].data) - 1):
            flip(copy / SHARD, place)
            assert list(found(copy)) == [SHARD]
            assert f"record {number}," in found(copy)[SHARD] and "SHA-256" in found(copy)[SHARD]
            (copy / SHARD).write_bytes(content)
    assert found(copy) == {}


def test_any_flipped_bit_of_an_index_is_found(copy: Path) -> None:
    path = copy / "train.index.npy"
    for place in (0, 9, 60, 127, 128, 500, path.stat().st_size - 1):
        flip(path, place)
        assert list(found(copy)) == ["train.index.npy"]
        flip(path, place)


def test_any_flipped_bit_of_the_manifest_or_its_digest_is_found(copy: Path) -> None:
    for name in ("manifest.json", "manifest.sha256"):
        for place in range(0, (copy / name).stat().st_size, 13):
            flip(copy / name, place)
            findings = found(copy)
            assert {"manifest.json", "manifest.sha256"} & set(findings), (name, place)
            assert name in "".join(f"{file} {what}" for file, what in findings.items())
            flip(copy / name, place)


@pytest.mark.parametrize("name", [SHARD, "test.index.npy", "manifest.json", "manifest.sha256"])
def test_a_cut_a_longer_and_a_missing_file_are_found(copy: Path, name: str) -> None:
    path = copy / name
    content = path.read_bytes()
    for changed, told in (
        (content[:-1], "truncated: |SHA-256|one line"),
        (content[: len(content) // 2], "truncated: |manifest|one line"),
        (b"", "truncated: 0 of|manifest|one line"),
        (content + b"\0", "1 surplus bytes|manifest|one line"),
        (content + content, "surplus bytes|manifest|one line"),
    ):
        path.write_bytes(changed)
        assert name in found(copy) and re.search(told, found(copy)[name])
    path.unlink()
    assert found(copy)[name] == "missing"


def test_a_cut_shard_is_told_with_the_record_that_it_ends_in(copy: Path) -> None:
    *others, last = read_records(copy / SHARD, checked=True)
    count = len(others) + 1
    for size in (last.offset + len(last.data) + 3, last.offset + 20, last.offset - 3):
        os.truncate(copy / SHARD, size)
        assert f"record {count - 1}," in found(copy)[SHARD] and "the file ends in" in found(copy)[SHARD]


def test_swapped_shards_are_told_as_what_they_are(copy: Path) -> None:
    first, second = (copy / SHARD).read_bytes(), (copy / OTHER).read_bytes()
    (copy / SHARD).write_bytes(second)
    (copy / OTHER).write_bytes(first)
    findings = found(copy)
    assert set(findings) == {SHARD, OTHER}
    assert f"it is {OTHER} under" in findings[SHARD] and f"it is {SHARD} under" in findings[OTHER]


def test_files_that_nobody_named_are_found(copy: Path) -> None:
    (copy / "train-00003-of-00003.tfrecord").touch()
    (copy / "notes.txt").touch()
    (copy / ".parts").mkdir()
    assert set(found(copy)) == {"train-00003-of-00003.tfrecord", "notes.txt", ".parts"}


def test_several_damages_are_all_told(copy: Path) -> None:
    flip(copy / SHARD, 50)
    (copy / OTHER).unlink()
    flip(copy / "test.index.npy", 300)
    (copy / "more").touch()
    assert list(found(copy)) == ["test.index.npy", SHARD, OTHER, "more"]


def test_whole_records_that_are_others_are_told(copy: Path) -> None:
    """The CRCs fit, so only the digest tells."""
    records = [found.data for found in read_records(copy / SHARD, checked=True)]
    (copy / SHARD).write_bytes(b"".join(record(data) for data in (records[1], records[0], *records[2:])))
    assert f"{len(records)} whole records, which are not" in found(copy)[SHARD]


def test_a_folder_that_is_not_all_written_is_told(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    (copy / ".parts").mkdir()
    (copy / ".parts" / "plan.json").touch()
    assert "not written yet" in found(copy)["manifest.json"]


def seal(folder: Path, *names: str) -> None:
    """Makes manifest and digest fit files, as if they had been written so."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for split in (manifest["train"], manifest["test"]):
        for file in (*split["shards"], split["index"]):
            if file["name"] in names:
                content = (folder / file["name"]).read_bytes()
                file.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    content = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(content)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  manifest.json\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows["offset"].__setitem__(13, rows["offset"][13] + 1), f"{SHARD} record 3 "),
        (
            lambda rows: rows["label"].__setitem__(slice(10, 20), rows["label"][19:9:-1]),
            f"label, height, width and channels of {SHARD}",
        ),
        (lambda rows: rows["label"].__setitem__(13, 3), "a label that is not from 0 to 2"),
        (lambda rows: rows["length"].__setitem__(13, 10**9), "beyond its shard"),
    ],
)
def test_an_index_that_was_written_wrongly_is_told(copy: Path, change: Callable[[Any], None], told: str) -> None:
    rows = np.load(copy / "train.index.npy")
    before = rows.copy()
    change(rows)
    assert not np.array_equal(rows, before)
    np.save(copy / "train.index.npy", rows)
    seal(copy, "train.index.npy")
    findings = found(copy)
    assert list(findings) == ["train.index.npy"] and told in findings["train.index.npy"]


def test_a_shard_that_was_written_wrongly_is_told(copy: Path) -> None:
    records = [found.data for found in read_records(copy / SHARD, checked=True)]
    for changed, told in (
        (records[:-1], "beyond its shard"),
        ([*records, records[0]], f"{len(records) + 1} records, and {len(records)} in the index"),
        ([records[0], b"\x0a\x05nonsense", *records], "record 1 is no image"),
        ([records[0], b"", *records], "record 1 is no image"),
    ):
        (copy / SHARD).write_bytes(b"".join(record(data) for data in changed))
        seal(copy, SHARD)
        findings = found(copy)
        assert told in "".join(findings.values()), findings


def test_image_files_are_decoded_one_by_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch, split_of(FILES), split_of(FILES[:5]))
    report = verify_source("fake", tmp_path, 1, lambda counts, total: None)
    assert report.findings == [] and report.images == 45
    damaged = list(FILES)
    damaged[3], damaged[17], damaged[39] = b"", FILES[17][:-30], b"<html>"
    monkeypatch.setattr("hpcdl.data.shards.verify.CHUNK", 10)
    register(monkeypatch, split_of(damaged), replace(split_of(FILES[:5]), labels=np.array([0, 1, 2, 3, -1], np.int32)))
    seen: list[Counts] = []
    report = verify_source("fake", tmp_path, 1, lambda counts, total: seen.append(counts))
    assert [finding.file for finding in report.findings] == [f"{place}.JPEG" for place in (3, 17, 39, 3, 4)]
    told = [finding.what for finding in report.findings]
    assert "empty" in told[0] and "truncated" in told[1] and "no image" in told[2] and "label 3" in told[3]
    assert seen[-1] == Counts(done=45, bad=5)


def test_a_set_in_memory_is_whole_if_it_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "x_train": random.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8),
        "y_train": np.arange(6) % 3,
        "x_test": random.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8),
        "y_test": np.arange(3),
    }
    np.savez(tmp_path / "set.npz", **arrays)
    report = verify_source("npz", tmp_path / "set.npz", 1, lambda counts, total: None)
    assert report.findings == [] and report.images == 9
    content = (tmp_path / "set.npz").read_bytes()
    (tmp_path / "set.npz").write_bytes(content[: len(content) // 2])
    (finding,) = verify_source("npz", tmp_path / "set.npz", 1, lambda counts, total: None).findings
    assert "set.npz" in finding.file

    def refuse(path: Path) -> None:
        raise DataError("file x with 3 bytes (truncated)", "5 bytes", "copy it")

    monkeypatch.setitem(SOURCES, "fake", replace(SOURCES["npz"], check=refuse))
    report = verify_source("fake", tmp_path, 1, lambda counts, total: None)
    assert report.findings == [Finding(str(tmp_path), "file x with 3 bytes (truncated); expected: 5 bytes")]
