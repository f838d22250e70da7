"""Batches against NumPy and Pillow: the right samples, changed in the right way."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from hpcdl.config.schema import DataConfig
from hpcdl.data.images import Encoded, Images, ImageSet
from hpcdl.data.order import Share, draws, permutation, shares
from hpcdl.data.pipeline import Batches, as_tensor
from hpcdl.data.sources import cifar
from hpcdl.data.stream import Gathered, Stream
from hpcdl.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def data(small_cifar: Path) -> ImageSet:
    return cifar.load(small_cifar / cifar.CIFAR10.folder)


def config(**keys: Any) -> DataConfig:
    return DataConfig.model_validate({"source": "cifar10", **keys})


def stored(data: ImageSet, kind: str = "PNG", sides: tuple[int, int] | None = None) -> ImageSet:
    """The same images as files, which are read when they are needed; `sides`: without detail, at another size."""
    files = []
    for pixels in data.train.pixels:
        image = Image.fromarray(pixels)
        if sides:
            image = image.resize((5, 5), Image.Resampling.BOX).resize(sides, Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))
        files.append(buffer.getvalue())
    split = Encoded(data.train.labels, lambda places: [files[place] for place in places], lambda place: f"file {place}")
    return replace(data, train=split)


def an_epoch(batches: Batches, parts: Sequence[Share], seed: int = 0, epoch: int = 0) -> list[Any]:
    return list(islice(batches.epochs(parts, seed, epoch), len(parts)))


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_an_epoch_follows_the_other(data: ImageSet, kind: str) -> None:
    of = data if kind == "memory" else stored(data)
    batches, parts = Batches(of, of.train, config(augment=["flip"], size=32)), shares(250, 100, 50, 0, 1)
    running = list(islice(batches.epochs(parts, 0), 3 * len(parts)))
    apart = [batch for epoch in range(3) for batch in an_epoch(batches, parts, epoch=epoch)]
    for (images, labels), (expected, known) in zip(running, apart, strict=True):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, known)


@pytest.mark.parametrize("normalize", ["unit", "standard", "centered", "symmetric", "caffe", "none"])
@pytest.mark.parametrize("augment", [[], ["flip"], ["flip", "pad-crop"]])
def test_training_batches_are_what_numpy_makes(data: ImageSet, normalize: str, augment: list[str]) -> None:
    batches = Batches(data, data.train, config(normalize=normalize, augment=augment))
    order, random = permutation(250, seed=5, epoch=3), draws(np.arange(250), 3, seed=5, epoch=3)
    if augment == ["flip"]:
        random[:, 2] = draws(np.arange(250), 1, seed=5, epoch=3)[:, 0]
    for rank in range(3):
        parts = shares(250, 32, 8, rank, 3)
        for part, (images, labels) in zip(parts, an_epoch(batches, parts, seed=5, epoch=3), strict=True):
            places = order[part.start : part.stop]
            expected = data.train.pixels[places].astype(float)
            if "pad-crop" in augment:
                padded = np.pad(expected, ((0, 0), (4, 4), (4, 4), (0, 0)))
                offsets = (random[places, :2] * 9).astype(int)
                cut = [image[y : y + 32, x : x + 32] for image, (y, x) in zip(padded, offsets, strict=True)]
                expected = np.stack(cut) if cut else expected
            if "flip" in augment:
                expected = np.where(random[places, 2, None, None, None] < 0.5, expected[:, :, ::-1], expected)
            scaled = {
                "unit": expected / 255,
                "standard": (expected / 255 - np.array(data.mean)) / np.array(data.std),
                "centered": expected / 255 - 0.5,
                "symmetric": expected / 127.5 - 1,
                "caffe": expected[..., ::-1] - [103.939, 116.779, 123.68],
                "none": expected,
            }[normalize]
            np.testing.assert_allclose(images.numpy(), scaled, atol=2e-6 if normalize != "caffe" else 2e-5)
            assert labels.numpy().tolist() == data.train.labels[places].tolist()


@pytest.mark.parametrize("kind", ["memory", "files"])
@pytest.mark.parametrize(
    "augment", [["flip", "pad-crop", "color-jitter", "cutout", "randaugment"], ["random-resized-crop"]]
)
def test_a_sample_is_changed_alike_whatever_the_ranks(data: ImageSet, kind: str, augment: list[str]) -> None:
    """What three ranks see, put together, is what one rank sees; the last update leaves a rank without images."""
    of = data if kind == "memory" else stored(data)
    batches = Batches(of, of.train, config(augment=augment, size=32), micro_batch=8)

    def seen(size: int) -> list[tuple[Any, Any]]:
        parts = [shares(250, 64, 32, rank, size)[-2:] for rank in range(size)]
        ranks = [an_epoch(batches, own, seed=1, epoch=2) for own in parts]
        return [
            tuple(np.concatenate(parts) for parts in zip(*update, strict=True)) for update in zip(*ranks, strict=True)
        ]

    for (images, labels), (expected, known) in zip(seen(3), seen(1), strict=True):
        np.testing.assert_array_equal(labels, known)
        np.testing.assert_array_equal(images, expected)
    first, second = (next(batches.epochs(shares(250, 64, 32, 0, 1), 1, epoch))[0].numpy() for epoch in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "augment",
    [
        [],
        ["flip", "pad-crop", "color-jitter", "cutout", "randaugment", "mixup"],
        ["random-resized-crop", "cutmix"],
        ["alternate-flip"],
    ],
)
def test_a_compiled_step_makes_the_batches_that_the_pipeline_makes(data: ImageSet, augment: list[str]) -> None:
    """A rank with one core has no pipeline; its images are the same to the bit."""
    parts, size = shares(250, 64, 32, 0, 1)[:3], 64
    pipeline, alone = (
        Batches(data, data.train, config(augment=augment), 32, workers).epochs(parts, 1, first=2, skip=1)
        for workers in (2, 1)
    )
    assert isinstance(pipeline, Stream) and isinstance(alone, Gathered)
    expected = list(islice(pipeline, 6))

    def both(taken: Any) -> tuple[Any, ...]:
        (images, labels), (more, others) = (alone.batch(taken, tf.constant(number)) for number in (0, 1))
        return images, labels, more, others

    compiled = tf.function(both, autograph=False).get_concrete_function(alone.spec)
    with alone.taking(2) as taken:  # the first epoch ends here
        made = [each.numpy() for each in compiled(taken)]
    found = [(made[0], made[1]), (made[2], made[3]), *islice(alone, 4)]
    for (images, labels), (known, truth) in zip(found, expected, strict=True):
        assert images.shape == (size, 32, 32, 3)
        np.testing.assert_array_equal(images, known)
        np.testing.assert_array_equal(labels, truth)


def test_batches_of_memory_end() -> None:
    """Where a rank has no share, and after the last one."""
    rows = [(np.arange(3), np.zeros((3, 1), np.float32), np.array([0, 2, 3]))]
    few = Gathered(iter(rows), lambda samples, random: (samples, random))
    assert [samples.numpy().tolist() for samples, _ in few] == [[0, 1], [2]]
    with pytest.raises(StopIteration):
        few.taking()


def test_mixed_labels_stay_within_a_micro_batch(data: ImageSet) -> None:
    batches = Batches(data, data.train, config(augment=["mixup"]), micro_batch=16)
    order = permutation(250, seed=0, epoch=0)
    _, labels = next(batches.epochs(shares(250, 64, 16, 0, 1), seed=0))
    assert labels.shape == (64, 10)
    np.testing.assert_allclose(labels.numpy().sum(axis=1), 1, atol=1e-6)
    own = data.train.labels[order[:64]]
    partner = own.reshape(4, 16)[:, ::-1].reshape(-1)
    assert all(
        row[np.setdiff1d(np.arange(10), pair)].max() == 0
        for row, *pair in zip(labels.numpy(), own, partner, strict=True)
    )


def test_files_are_what_memory_is(data: ImageSet) -> None:
    """PNG files of the network's size: nothing is lost, and the evaluation's window is the whole image where asked."""
    parts = shares(250, 100, 50, 0, 1)
    augment = ["pad-crop", "flip"]
    of = stored(data, sides=None)
    files = Batches(of, of.train, config(augment=augment, size=32))
    memory = Batches(data, data.train, config(augment=augment))
    for (images, labels), (expected, known) in zip(an_epoch(files, parts), an_epoch(memory, parts), strict=True):
        assert images.shape == expected.shape and labels.numpy().tolist() == known.numpy().tolist()


@pytest.mark.parametrize(("sides", "kind"), [((300, 200), "JPEG"), ((90, 64), "JPEG"), ((100, 130), "PNG")])
def test_the_evaluation_window_is_pillows_crop(data: ImageSet, sides: tuple[int, int], kind: str) -> None:
    """The middle, 7/8 of the shorter side; a large JPEG is decoded at a part of its resolution."""
    of = stored(data, kind, sides)
    batches = Batches(of, of.train, config(size=28, normalize="none"))
    images, _ = next(batches.plain(shares(250, 20, 20, 0, 1)[:1]))
    for place, image in enumerate(images.numpy()):
        whole = Image.open(io.BytesIO(of.train.read(np.array([place]))[0]))
        side = min(sides) * 0.875
        left, top = (sides[0] - side) / 2, (sides[1] - side) / 2
        expected = whole.resize((28, 28), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        assert np.abs(image - np.asarray(expected, float)).max() < 10


def test_members_are_the_set(data: ImageSet) -> None:
    members = np.array([7, 3, 200])
    batches = Batches(data, data.train, config(normalize="none")).only(members)
    assert len(batches) == 3
    images, labels = next(batches.plain(shares(3, 3, 3, 0, 1)))
    np.testing.assert_array_equal(images.numpy(), data.train.pixels[members])
    _, labels = next(batches.epochs(shares(3, 3, 3, 0, 1), 0))
    assert sorted(labels.numpy()) == sorted(data.train.labels[members])


def test_images_in_memory_are_enlarged(data: ImageSet) -> None:
    images, _ = next(Batches(data, data.test, config(size=64, normalize="none")).plain(shares(60, 8, 8, 0, 1)))
    expected = np.asarray(Image.fromarray(data.test.pixels[0]).resize((64, 64), Image.Resampling.BILINEAR), float)
    assert images.shape == (8, 64, 64, 3)
    assert np.abs(images[0].numpy() - expected).mean() < 1


@pytest.mark.parametrize(("damage", "why"), [(b"", "empty"), (b"\xff\xd8\xff\xe0 no image", ""), (None, "")])
def test_an_image_that_cannot_be_decoded_is_named(data: ImageSet, damage: bytes | None, why: str) -> None:
    of = stored(data, "JPEG")
    whole = of.train.read

    def read(places: Any) -> list[bytes]:
        bad = whole(np.array([9]))[0][:300] if damage is None else damage
        return [bad if place == 9 else file for place, file in zip(places, whole(places), strict=True)]

    split = replace(of.train, read=read)
    with pytest.raises(DataError, match=r"file 9: .*(?s:.)*--bad skip"):
        an_epoch(Batches(of, split, config(size=32)), shares(250, 50, 50, 0, 1))


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_a_rank_may_have_no_part_of_a_small_split(data: ImageSet, kind: str) -> None:
    of = data if kind == "memory" else stored(data)
    batches = Batches(of, of.train, config(size=32))
    assert list(batches.plain([])) == [] and list(batches.epochs([], 0)) == []


def test_files_need_a_size(data: ImageSet) -> None:
    of = stored(data)
    with pytest.raises(ConfigError, match=r"data.size=224"):
        Batches(of, of.train, config())


def test_flips_alternate(data: ImageSet) -> None:
    """Each image one way in even epochs and the other in odd ones; about half of them start mirrored."""
    batches, parts = Batches(data, data.train, config(augment=["pad-crop", "alternate-flip"], padding=1)), PARTS
    one, two, three = (_uncropped(data, an_epoch(batches, parts, epoch=epoch), epoch) for epoch in range(3))
    assert (one != two).all() and (one == three).all()
    assert 95 < one.sum() < 155


PARTS = shares(250, 100, 50, 0, 1)


def _uncropped(data: ImageSet, batches: list[Any], epoch: int) -> Any:
    """Which samples of an epoch were mirrored, looking at what no padding of 1 reaches."""
    images = np.concatenate([images.numpy() for images, _ in batches])
    samples = permutation(250, 0, epoch)
    offsets = (draws(samples, 3, 0, epoch)[:, :2] * 3).astype(int) - 1
    plain = data.train.pixels[samples] / 255
    mirrored = np.zeros(250, bool)
    for image, sample, original, (down, right) in zip(images, samples, plain, offsets, strict=True):
        moved = np.roll(original, (-down, -right), (0, 1))[1:-1, 1:-1]
        inner = image[1:-1, 1:-1]
        ways = [np.abs(inner - way).max() < 1e-5 for way in (moved, moved[:, ::-1])]
        assert sum(ways) == 1
        mirrored[sample] = ways[1]
    return mirrored


def test_padding_that_no_image_has_room_for_is_refused(data: ImageSet) -> None:
    with pytest.raises(ConfigError, match="padding of 33 pixels for images of 32 x 32"):
        Batches(data, data.train, config(augment=["pad-crop"], padding=33))
    Batches(data, data.train, config(augment=["pad-crop"], padding=32))
    with pytest.raises(ConfigError, match="at most 31"):
        Batches(data, data.train, config(augment=["pad-crop"], padding=32, padding_mode="reflect"))


def test_grey_images_have_no_blue(data: ImageSet) -> None:
    grey = Images(data.train.pixels[..., :1].copy(), data.train.labels)
    with pytest.raises(ConfigError, match="colour"):
        Batches(data, grey, config(normalize="caffe"))


def test_evaluation_batches_hold_the_test_set_in_order(data: ImageSet) -> None:
    batches = Batches(data, data.test, config(augment=["flip"]))
    pairs = [batches.plain(shares(60, 14, 7, rank, 2)) for rank in range(2)]
    together = [labels.numpy() for both in zip(*pairs, strict=True) for _, labels in both]
    assert np.concatenate(together).tolist() == data.test.labels.tolist()


def test_a_large_array_is_not_copied() -> None:
    array = np.zeros((1 << 20) + 64, np.uint8)
    start = -array.ctypes.data % 64
    array = array[start : start + (1 << 20)]
    tensor = as_tensor(array)
    array[5] = 9
    assert tensor.numpy()[5] == 9
    assert as_tensor(array[1:]).numpy()[4] == 9  # not where TensorFlow's packets begin: copied
