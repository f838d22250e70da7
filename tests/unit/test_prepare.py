"""Preparing shards: what each kind of image becomes, what is bad, and that no interruption leaves a trace."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hpcdl.cli import data_prepare
from hpcdl.data.images import Encoded, Images, ImageSet
from hpcdl.data.shards import prepare as module
from hpcdl.data.shards import workers
from hpcdl.data.shards.encode import BadImage, Encoding, encode_file, encode_pixels, shrunk_shape
from hpcdl.data.shards.manifest import find
from hpcdl.data.shards.prepare import Outcome, prepare
from hpcdl.data.shards.reader import load
from hpcdl.data.shards.request import Request
from hpcdl.data.shards.workers import Counts
from hpcdl.data.sources.registry import SOURCES
from hpcdl.data.subset import ALL, Subset, narrow
from hpcdl.errors import ConfigError, DataError

JPEG, PIXELS = Encoding("jpeg", None, 95), Encoding("pixels", None, 95)
Fake = Callable[[ImageSet], None]
COLOURS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def stored(image: Image.Image | npt.NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    """An image file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def pixels(data: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(shape)


def decoded(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


# One image.


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30, "comment": b"x"}])
@pytest.mark.parametrize("shape", [(12, 16, 3), (12, 16)])
def test_a_plain_jpeg_keeps_its_bytes(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    data = stored(COLOURS.reshape(-1)[: np.prod(shape)].reshape(shape), "JPEG", **options)
    for how in (JPEG, Encoding("jpeg", 12, 5), Encoding("jpeg", 500, 5)):
        image = encode_file(data, "a.JPEG", how)
        assert image.data == data and image.converted is None
        assert image.shape == (12, 16, 3 if len(shape) == 3 else 1)


def test_other_formats_become_rgb_pixels_exactly() -> None:
    """The values are what each format's definition says, from lossless files."""
    alpha = np.dstack([COLOURS, np.full((12, 16), 7, np.uint8)])
    deep = (np.arange(192, dtype=np.uint16) * 341).reshape(12, 16)
    bits = COLOURS[:, :, 0] > 127
    palette = Image.fromarray(COLOURS[:, :, 0] % 5, "P")
    palette.putpalette([9, 8, 7, 6, 5, 4, 3, 2, 1, 100, 120, 140, 200, 210, 220])
    table = np.array(palette.getpalette()).reshape(-1, 3).astype(np.uint8)
    grey = COLOURS[:, :, 0]
    for data, name, expected, told in (
        (stored(COLOURS, "PNG"), "a.png", COLOURS, None),
        (stored(COLOURS, "BMP"), "a.BMP", COLOURS, None),
        (stored(grey, "PNG"), "a.png", np.dstack([grey] * 3), None),
        (stored(COLOURS, "PNG"), "n1.JPEG", COLOURS, "PNG in a .JPEG file"),
        (stored(COLOURS, "BMP"), "a.jpg", COLOURS, "BMP in a .jpg file"),
        (stored(COLOURS, "WEBP", lossless=True), "a.jpg", COLOURS, "WebP in a .jpg file"),
        (stored(alpha, "PNG"), "a.png", COLOURS, "alpha"),
        (stored(alpha, "PNG"), "a.jpeg", COLOURS, "PNG in a .jpeg file, alpha"),
        (stored(palette, "PNG"), "a.png", table[COLOURS[:, :, 0] % 5], "palette"),
        (stored(palette, "PNG", transparency=b"\x01\x02\x03"), "a.png", table[COLOURS[:, :, 0] % 5], "palette"),
        (stored(palette, "GIF"), "a.gif", table[COLOURS[:, :, 0] % 5], "palette"),
        (stored(Image.fromarray(deep), "PNG"), "a.png", np.dstack([deep // 256] * 3), "16 bit"),
        (stored(Image.fromarray(bits), "PNG"), "a.png", np.dstack([bits * 255] * 3), "black and white"),
    ):
        image = encode_file(data, name, PIXELS)
        assert image.shape == (12, 16, 3) and image.converted == told, name
        assert np.array_equal(pixels(image.data, (12, 16, 3)), expected), (name, told)


def test_other_formats_become_a_jpeg_that_looks_alike() -> None:
    smooth = np.add.outer(np.arange(48) * 3, np.arange(64) * 1)[:, :, None] + np.array([0, 20, 40])
    smooth = smooth.astype(np.uint8)
    cmyk = np.dstack([255 - smooth, np.zeros((48, 64), np.uint8)])
    for data, name, told, bands in (
        (stored(smooth, "PNG"), "a.png", None, 3),
        (stored(smooth, "PNG"), "a.JPEG", "PNG in a .JPEG file", 3),
        (stored(smooth[:, :, 0], "PNG"), "a.png", None, 1),
        (stored(np.dstack([smooth, smooth[:, :, :1]]), "PNG"), "a.png", "alpha", 3),
        (stored(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=95), "a.jpg", "CMYK", 3),
    ):
        image = encode_file(data, name, JPEG)
        again = Image.open(io.BytesIO(image.data))
        assert again.format == "JPEG" and image.converted == told and image.shape == (48, 64, bands)
        expected = smooth if bands == 3 else smooth[:, :, 0]
        assert np.abs(np.asarray(again).astype(int) - expected).max() < 12, told


def test_of_several_pictures_in_a_file_the_first_counts() -> None:
    first, second = (Image.fromarray(pixels) for pixels in (COLOURS, 255 - COLOURS))
    several = stored(first, "MPO", save_all=True, append_images=[second])
    assert encode_file(several, "a.JPG", JPEG).data == several
    assert encode_file(several, "a.JPG", PIXELS).data == encode_file(stored(first, "JPEG"), "a.JPG", PIXELS).data
    grey = Image.fromarray(COLOURS[:, :, 0])
    animated = stored(grey, "GIF", save_all=True, append_images=[Image.fromarray(255 - COLOURS[:, :, 0])])
    assert encode_file(animated, "a.gif", PIXELS).data == np.dstack([COLOURS[:, :, 0]] * 3).tobytes()


def test_the_orientation_that_a_camera_notes_is_not_looked_at() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = stored(COLOURS, "JPEG", exif=exif)
    assert encode_file(data, "a.jpg", JPEG).shape == (12, 16, 3)
    assert encode_file(data, "a.jpg", Encoding("pixels", 6, 95)).shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((480, 640), 256, (256, 341)),
        ((640, 480), 256, (341, 256)),
        ((256, 999), 256, (256, 999)),
        ((100, 90), 256, (100, 90)),
        ((3000, 4), 2, (1500, 2)),
        ((7, 7), 3, (3, 3)),
        ((7, 9), None, (7, 9)),
    ],
)
def test_the_short_side_shrinks_to_size_and_never_grows(
    shape: tuple[int, int], size: int | None, expected: tuple[int, int]
) -> None:
    assert shrunk_shape(*shape, size) == expected
    data = stored(np.zeros(shape, np.uint8), "PNG")
    assert encode_file(data, "a.png", Encoding("pixels", size, 95)).shape == (*expected, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_shrinking_averages_what_falls_into_a_pixel(kind: str) -> None:
    """Stripes of one pixel become grey, and a slope stays one; picking pixels would keep the stripes."""
    columns = np.arange(512)
    image = np.broadcast_to((columns % 2 * 120 + columns // 4)[None, :, None], (384, 512, 3)).astype(np.uint8)
    small = encode_file(
        stored(image, kind, **({"quality": 100} if kind == "JPEG" else {})), "a", Encoding("pixels", 48, 95)
    )
    assert small.shape == (48, 64, 3)
    expected = np.broadcast_to(image.reshape(48, 8, 64, 8, 3).mean((1, 3)), (48, 64, 3))
    difference = pixels(small.data, small.shape).astype(float) - expected
    assert np.abs(difference[2:-2, 2:-2]).max() < 3


def test_a_jpeg_that_is_decoded_smaller_looks_as_if_it_was_not() -> None:
    """Blobs that a quarter of the size still shows, and an eighth would not."""
    rows, columns = np.meshgrid(np.arange(384), np.arange(512), indexing="ij")
    image = (127 + 60 * np.sin(rows / 3.5) * np.sin(columns / 3.5)).astype(np.uint8)
    how = Encoding("pixels", 96, 95)
    slow, quick = (encode_file(stored(image, kind), "a", how) for kind in ("PNG", "JPEG"))
    difference = pixels(slow.data, slow.shape).astype(int) - pixels(quick.data, quick.shape)
    assert slow.shape == (96, 128, 3) and np.abs(difference).max() < 12
    assert np.ptp(pixels(slow.data, slow.shape)) > 80


def test_what_shrinks_is_encoded_anew_with_the_quality() -> None:
    data = stored(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG", comment=b"mine")
    fine, coarse = (encode_file(data, "a.jpg", Encoding("jpeg", 32, quality)) for quality in (95, 20))
    assert decoded(fine.data).shape == decoded(coarse.data).shape == (32, 32, 3)
    assert len(coarse.data) < len(fine.data) and b"mine" not in fine.data and fine.converted is None


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_in_memory_stay_or_shrink_or_become_jpeg(channels: int) -> None:
    image = np.full((20, 30, channels), 77, np.uint8)
    assert encode_pixels(image, PIXELS).data == image.tobytes()
    small = encode_pixels(image, Encoding("pixels", 10, 95))
    assert small.shape == (10, 15, channels) and set(small.data) == {77}
    jpeg = encode_pixels(image, JPEG)
    assert np.abs(decoded(jpeg.data).astype(int) - 77).max() <= 2 and jpeg.shape == image.shape


BAD = {
    "empty": (b"", "empty"),
    "text": (b"<html>not found</html>", "no image"),
    "truncated": (stored(COLOURS, "JPEG")[:-40], "truncated"),
    "without its end mark": (stored(COLOURS, "JPEG")[:-2], "truncated"),
    "header only": (stored(COLOURS, "JPEG")[:20], "no image"),
    "PNG with a wrong byte": (stored(COLOURS, "PNG")[:60] + b"\0" + stored(COLOURS, "PNG")[61:], "."),
    "PNG with a wrong checksum": (stored(COLOURS, "PNG")[:-14] + b"!!" + stored(COLOURS, "PNG")[-12:], "."),
    "truncated PNG": (stored(COLOURS, "PNG")[:-30], "."),
    "TIFF": (stored(COLOURS, "TIFF"), "no image"),
    "PostScript": (stored(COLOURS, "EPS"), "no image"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("how", [JPEG, PIXELS, Encoding("jpeg", 3, 95)])
def test_damaged_and_foreign_bytes_are_bad(name: str, how: Encoding) -> None:
    data, told = BAD[name]
    with pytest.raises(BadImage, match=told) as caught:
        encode_file(data, "a.JPEG", how)
    assert str(caught.value) and "\n" not in str(caught.value) and "0x" not in str(caught.value)


# A folder of shards.


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
    files[names[4]], files[names[9]] = BAD["truncated"][0], b"text"
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
