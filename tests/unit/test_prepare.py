"""Preparing shards: no interruption leaves a trace."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from image_files import COLOURS, stored

from hpcdl.cli import data_prepare
from hpcdl.data.images import Encoded, Images, ImageSet
from hpcdl.data.shards import prepare as module
from hpcdl.data.shards import workers
from hpcdl.data.shards.manifest import find
from hpcdl.data.shards.prepare import Outcome, prepare
from hpcdl.data.shards.reader import load
from hpcdl.data.shards.request import Request
from hpcdl.data.shards.workers import Counts
from hpcdl.data.sources.registry import SOURCES
from hpcdl.data.subset import ALL, Subset, narrow
from hpcdl.errors import ConfigError, DataError

Fake = Callable[[ImageSet], None]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Makes a set what the source `fake` loads."""

    def put(images: ImageSet) -> None:
        source = replace(SOURCES["npz"], check=lambda path: None, load=lambda path, subset: narrow(images, subset))
        monkeypatch.setitem(SOURCES, "fake", source)

    return put


def image_set(path: Path, files: dict[str, bytes], labels: list[int] | None = None, tests: int = 0) -> ImageSet:
    """Image files, the last ones of them for the test; file 0 has label 0, 1 has 1, 2 has 2, 3 has 0 …"""
    names, content = list(files), list(files.values())
    all_labels = np.array(labels or [place % 3 for place in range(len(files))], np.int32)

    def split(start: int, stop: int) -> Encoded:
        return Encoded(
            all_labels[start:stop],
            lambda places: [content[start + place] for place in places],
            lambda place: str(path.absolute() / names[start + place]),
        )

    count = len(files) - tests
    return ImageSet(
        "fake", split(0, count), split(count, len(files)), ("a", "b", "c"), str(path), False, (0.5,) * 3, (0.5,) * 3
    )


def good(count: int) -> dict[str, bytes]:
    random = np.random.default_rng(3)
    return {
        f"{place % 3}/{place}.JPEG": stored(random.integers(0, 256, (8, 8 + place % 5, 3), dtype=np.uint8), "JPEG")
        for place in range(count)
    }


def run(tmp_path: Path, out: str = "out", **options: Any) -> Outcome:
    request = Request("fake", tmp_path, tmp_path / out, **{"shard_mb": 0.005, **options})
    return prepare(request, lambda counts, total: None)


def tree(folder: Path) -> dict[str, bytes]:
    """All files under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def test_a_class_is_spread_over_the_shards_as_the_seed_says(tmp_path: Path, fake: Fake) -> None:
    files = good(60)
    fake(image_set(tmp_path, files, sorted(place % 3 for place in range(60)), tests=6))
    run(tmp_path, "a")
    run(tmp_path, "b")
    run(tmp_path, "c", seed=1)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    first, other = (np.load(tmp_path / out / "train.index.npy") for out in "ac")
    assert not np.array_equal(first["label"], other["label"])
    assert sorted(first["label"]) == sorted(other["label"])
    assert len(np.unique(first["shard"])) > 5
    assert all(len(np.unique(first["label"][first["shard"] == shard])) > 1 for shard in np.unique(first["shard"]))
    tests = [np.load(tmp_path / out / "test.index.npy")["label"].tolist() for out in "ac"]
    assert tests == [[2] * 6] * 2


def test_shards_have_about_the_size_that_was_asked_for(tmp_path: Path, fake: Fake) -> None:
    fake(image_set(tmp_path, good(200)))
    for size in (0.005, 0.02, 1):
        run(tmp_path, f"out-{size}", shard_mb=size)
        lengths = [path.stat().st_size for path in (tmp_path / f"out-{size}").glob("train-*")]
        aim = min(size * 2**20, sum(lengths))
        assert 0.85 * aim < np.mean(lengths) < 1.15 * aim and max(lengths) < 1.3 * aim


def test_the_same_files_elsewhere_give_the_same_shards(tmp_path: Path, fake: Fake) -> None:
    files = {**good(20), "0/odd.JPEG": stored(COLOURS, "PNG"), "0/bad.JPEG": b""}
    trees = []
    for place in ("here", "there/deep"):
        (tmp_path / place).mkdir(parents=True)
        fake(image_set(tmp_path / place, files))
        request = Request("fake", tmp_path / place, tmp_path / place / "out", shard_mb=0.005, skip=True)
        prepare(request, lambda counts, total: None)
        trees.append(tree(tmp_path / place / "out"))
    assert trees[0] == trees[1]
    assert str(tmp_path).encode() not in b"".join(trees[0].values())


def test_damaged_images_are_refused_all_at_once_and_named(tmp_path: Path, fake: Fake) -> None:
    files = good(40) | {f"bad/{place}.JPEG": b"" for place in range(12)}
    fake(image_set(tmp_path, files))
    with pytest.raises(DataError) as caught:
        run(tmp_path)
    assert "12 of 52 images are damaged" in caught.value.received and "and 2 more" in caught.value.received
    assert caught.value.received.count("bad/") == 10 and caught.value.received.count("empty") == 10
    assert "--bad skip" in caught.value.fix
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_damaged_images_are_left_out_and_listed(tmp_path: Path, fake: Fake) -> None:
    files = good(30)
    names = list(files)
    files[names[4]], files[names[9]] = stored(COLOURS, "JPEG")[:-40], b"text"
    labels = [place % 3 for place in range(30)]
    labels[11], labels[12], labels[29] = 3, -1, 77
    fake(image_set(tmp_path, files, labels, tests=5))
    with pytest.raises(DataError, match="5 of 30 images"):
        run(tmp_path)
    outcome = run(tmp_path, skip=True)
    train, test = outcome.manifest.train, outcome.manifest.test
    skipped = {remark.name: remark.reason for remark in train.skipped}
    assert set(skipped) == {names[4], names[9], names[11], names[12]}
    assert "truncated" in skipped[names[4]] and "no image" in skipped[names[9]]
    assert skipped[names[11]] == "label 3 of a set with 3 classes"
    assert [remark.name for remark in test.skipped] == [names[29]]
    assert train.samples == 21 and test.samples == 4 and "5 damaged ones left out" in outcome.manifest.origin
    loaded = load(tmp_path / "out", ALL)
    left = [files[name] for place, name in enumerate(names) if place not in (4, 9, 11, 12) and place < 25]
    assert sorted(loaded.train.read(np.arange(21))) == sorted(left)


def test_skipping_goes_on_from_a_refusal_and_a_repaired_file_is_read_again(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = good(30)
    broken = dict(files)
    broken[list(files)[7]] = b""
    fake(image_set(tmp_path, files))
    run(tmp_path, "expected")
    fake(image_set(tmp_path, broken))
    for out in ("skipping", "repaired"):
        with pytest.raises(DataError):
            run(tmp_path, out)
    seen: list[Counts] = []
    request = Request("fake", tmp_path, tmp_path / "skipping", shard_mb=0.005, skip=True)
    outcome = prepare(request, lambda counts, total: seen.append(counts))
    assert outcome.kept == 29 and seen[-1] == Counts(done=30, bad=1, kept=30)
    fake(image_set(tmp_path, files))
    assert run(tmp_path, "repaired").kept > 15
    assert tree(tmp_path / "repaired") == tree(tmp_path / "expected")


def test_converted_images_are_listed(tmp_path: Path, fake: Fake) -> None:
    files = {
        **good(10),
        "0/png.JPEG": stored(COLOURS, "PNG"),
        "1/alpha.png": stored(np.zeros((9, 9, 4), np.uint8), "PNG"),
    }
    fake(image_set(tmp_path, files))
    converted = run(tmp_path).manifest.train.converted
    assert {remark.name: remark.reason for remark in converted} == {
        "0/png.JPEG": "PNG in a .JPEG file",
        "1/alpha.png": "alpha",
    }


def test_a_source_that_cannot_be_read_is_told_as_damage(tmp_path: Path, fake: Fake) -> None:
    def read(places: npt.NDArray[np.int64]) -> list[bytes]:
        raise DataError(f"{tmp_path}/x.JPEG: Permission denied", "a readable image", "mend")

    images = image_set(tmp_path, good(3))
    fake(replace(images, train=Encoded(images.train.labels, read, lambda place: f"{tmp_path}/x.JPEG")))
    with pytest.raises(DataError, match="Permission denied"):
        run(tmp_path)
    with pytest.raises(DataError, match="no training image"):
        run(tmp_path, skip=True)


def test_shards_can_be_made_from_shards(tmp_path: Path, fake: Fake) -> None:
    fake(image_set(tmp_path, {f"{place}.png": stored(COLOURS[: 4 + place % 3], "PNG") for place in range(12)}))
    run(tmp_path, "first", store="pixels")
    fake(load(tmp_path / "first", ALL))
    run(tmp_path, "second")
    loaded = [load(tmp_path / out, ALL).train for out in ("first", "second")]
    assert all(isinstance(split, Encoded) and split.shapes is not None for split in loaded)
    first, second = (sorted(split.read(np.arange(12))) for split in loaded)
    assert first == second


def in_memory(path: Path, channels: int = 3, count: int = 24) -> ImageSet:
    random = np.random.default_rng(5)
    split = Images(
        random.integers(0, 256, (count, 6, 6, channels), dtype=np.uint8), (np.arange(count) % 3).astype(np.int32)
    )
    return ImageSet("fake", split, split, ("a", "b", "c"), str(path), False, (0.5,) * channels, (0.5,) * channels)


def test_pixels_keep_their_channels_and_others_than_grey_and_rgb_are_no_jpeg(tmp_path: Path, fake: Fake) -> None:
    for channels in (1, 2, 4):
        fake(in_memory(tmp_path, channels))
        run(tmp_path, f"pixels-{channels}")
        loaded = load(tmp_path / f"pixels-{channels}", ALL)
        assert isinstance(loaded.train, Images) and loaded.train.pixels.shape == (24, 6, 6, channels)
    for options in ({"store": "jpeg"}, {"size": 3}):
        with pytest.raises(DataError, match="4 channels"):
            run(tmp_path, "refused", **options)
    assert not (tmp_path / "refused").exists()


# Going on, and what is refused.


def test_a_second_call_says_that_all_is_there(tmp_path: Path, fake: Fake) -> None:
    fake(image_set(tmp_path, good(20)))
    first = run(tmp_path)
    before = tree(tmp_path / "out")
    second = run(tmp_path)
    assert not first.before and second.before and second.manifest == first.manifest
    assert tree(tmp_path / "out") == before
    (tmp_path / "out" / ".parts").mkdir()  # a kill while it was being removed
    assert run(tmp_path).before and tree(tmp_path / "out") == before and not (tmp_path / "out" / ".parts").exists()
    next((tmp_path / "out").glob("train-*")).unlink()
    with pytest.raises(DataError, match="no file"):
        run(tmp_path)


class Stop(BaseException):
    """As sudden as Ctrl-C."""


def test_stopped_after_any_step_it_goes_on_to_the_same_files(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is flushed and each rename is: so every flush is a step."""
    fake(image_set(tmp_path, {**good(14), "0/odd.JPEG": stored(COLOURS, "PNG")}, tests=3))
    run(tmp_path, "expected")
    expected = tree(tmp_path / "expected")
    steps = 0

    def flush(file: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stop

    monkeypatch.setattr(os, "fsync", flush)
    while True:
        left = steps
        out = f"out-{steps}"
        try:
            run(tmp_path, out)
        except Stop:
            assert not list((tmp_path / out).rglob("*.tmp"))
        else:
            assert tree(tmp_path / out) == expected
            break
        left = 1000
        run(tmp_path, out)
        assert tree(tmp_path / out) == expected, steps
        steps += 1
    assert steps > 20


def test_a_finished_shard_is_kept_only_if_it_is_whole(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(image_set(tmp_path, good(40)))
    run(tmp_path, "expected")
    finish = module.finish
    for damage in ("flip", "cut", "remove", "rows", "record", "none"):
        out = tmp_path / damage

        def stop(*_: Any) -> Any:
            raise Stop

        monkeypatch.setattr(module, "finish", stop)
        with pytest.raises(Stop):
            run(tmp_path, damage)
        monkeypatch.setattr(module, "finish", finish)
        shard = sorted(out.glob("train-*"))[1]
        content = shard.read_bytes()
        if damage == "flip":
            shard.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
        elif damage == "cut":
            shard.write_bytes(content[:-1])
        elif damage == "remove":
            shard.unlink()
        elif damage == "rows":
            (out / ".parts" / "train-00001.npy").write_bytes(b"")
        elif damage == "record":
            (out / ".parts" / "train-00001.json").write_text("{", encoding="utf-8")
        kept = run(tmp_path, damage).kept
        assert (kept == 40) == (damage == "none") and kept > 20, damage
        assert tree(out) == tree(tmp_path / "expected"), damage


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": 4}, "size None, and not 4"),
        ({"store": "pixels"}, "store jpeg, and not pixels"),
        ({"quality": 90}, "quality 95, and not 90"),
        ({"seed": 1}, "seed 0, and not 1"),
        ({"shard_mb": 1}, "shard_mb 0.005, and not 1"),
        ({"subset": Subset(2)}, "other classes"),
        ({"subset": Subset(None, 3)}, "other images"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_other_arguments_are_refused_unless_the_old_may_go(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], told: str, whole: bool
) -> None:
    files = good(20)
    fake(image_set(tmp_path, files))
    if whole:
        run(tmp_path)
    else:
        fake(image_set(tmp_path, {**files, "0/0.JPEG": b""}))
        with pytest.raises(DataError):
            run(tmp_path)
        fake(image_set(tmp_path, files))
    before = tree(tmp_path / "out")
    with pytest.raises(ConfigError) as caught:
        run(tmp_path, **options)
    assert told in caught.value.received and "--overwrite" in caught.value.fix
    assert tree(tmp_path / "out") == before
    run(tmp_path, **options, overwrite=True)
    run(tmp_path, "expected", **options)
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


def test_other_labels_or_pixels_are_another_set(tmp_path: Path, fake: Fake) -> None:
    images = in_memory(tmp_path)
    assert isinstance(images.train, Images)
    fake(images)
    run(tmp_path)
    brighter = images.train.pixels.copy()
    brighter[3, 2, 1, 0] ^= 1
    for train in (Images(brighter, images.train.labels), Images(images.train.pixels, images.train.labels[::-1])):
        fake(replace(images, train=train))
        with pytest.raises(ConfigError, match="other images"):
            run(tmp_path)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, fake: Fake) -> None:
    fake(image_set(tmp_path, good(10)))
    for name in ("notes.txt", "manifest.json", "train-00000-of-00001.tfrecord"):
        out = tmp_path / f"has-{name}"
        out.mkdir()
        (out / name).write_text("mine", encoding="utf-8")
        for overwrite in (False, True):
            with pytest.raises(ConfigError, match=f"other files .{name}"):
                run(tmp_path, out.name, overwrite=overwrite)
        assert tree(out) == {name: b"mine"}
    run(tmp_path)
    (tmp_path / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        run(tmp_path, seed=1, overwrite=True)
    assert find(tmp_path / "out") and len(tree(tmp_path / "out")) > 4
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="--out"):
        run(tmp_path, "file")


def test_two_calls_do_not_write_to_one_folder(tmp_path: Path, fake: Fake) -> None:
    fake(image_set(tmp_path, good(10)))
    parts = tmp_path / "out" / ".parts"
    parts.mkdir(parents=True)
    with (parts / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another"):
            run(tmp_path)
    run(tmp_path)


@pytest.mark.parametrize("failing", range(0, 16, 5))
def test_a_full_disk_is_told_and_what_is_finished_stays(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    fake(image_set(tmp_path, good(20)))
    run(tmp_path, "expected")
    calls = 0

    def flush(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls > failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", flush)
        with pytest.raises(DataError) as caught:
            run(tmp_path)
    assert "No space left on device" in caught.value.received and str(tmp_path / "out") in caught.value.received
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert (run(tmp_path).kept > 0) == (failing >= 8)
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"quality": 0}, {"quality": 101}, {"workers": 0}, {"shard_mb": 0}, {"seed": -1}, {"store": "png"}],
)
def test_values_out_of_range_are_refused(tmp_path: Path, fake: Fake, options: dict[str, Any]) -> None:
    fake(image_set(tmp_path, good(3)))
    with pytest.raises(ConfigError, match="--" + next(iter(options)).replace("_", "-")):
        run(tmp_path, **options)
    assert not (tmp_path / "out").exists()


def test_progress_counts_every_image(tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(image_set(tmp_path, {**good(20), "0/bad.JPEG": b""}, tests=4))
    monkeypatch.setattr(workers, "PERIOD", 0.0)
    seen: list[Counts] = []
    request = Request("fake", tmp_path, tmp_path / "out", shard_mb=0.005, skip=True)
    prepare(request, lambda counts, total: seen.append(counts) if total == 21 else None)
    assert [counts.done for counts in seen] == sorted(counts.done for counts in seen)
    assert {counts.done for counts in seen} >= set(range(1, 22)) and seen[-1] == Counts(21, 1, 0)


@pytest.mark.parametrize(
    ("told", "expected"), [(None, None), ("10", 10), ("a,b", ("a", "b")), ("3,", ("3",)), ("0,1", ("0", "1"))]
)
def test_classes_are_a_number_or_names(told: str | None, expected: object) -> None:
    assert data_prepare._classes(told) == expected


@pytest.mark.parametrize("told", ["0", "", ",", "00"])
def test_no_classes_are_refused(told: str) -> None:
    with pytest.raises(ConfigError, match="--classes"):
        data_prepare._classes(told)
