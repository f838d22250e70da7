"""One copy of a set a node: what another process maps is what was published, and no file stays behind."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcdl.data.images import Encoded, Images, ImageSet
from hpcdl.data.shared import adopt, publish


def small_set(test: int = 3) -> ImageSet:
    random = np.random.default_rng(0)

    def split(count: int) -> Images:
        pixels = random.integers(0, 256, (count, 20, 30, 3), dtype=np.uint8)
        return Images(pixels, np.arange(count, dtype=np.int32))

    return ImageSet("some", split(7), split(test), ("a", "b"), "here", False, (0.5,), (0.2,))


def test_what_is_published_is_adopted(tmp_path: Path) -> None:
    images = small_set()
    sent = pickle.dumps(publish(images, [tmp_path]))
    assert len(sent) < 2000  # labels and names travel, pixels do not
    published = pickle.loads(sent)
    adopted = adopt(published)
    published.path.unlink()
    for ours, theirs in ((adopted.train, images.train), (adopted.test, images.test)):
        assert isinstance(ours, Images) and isinstance(theirs, Images)
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert adopted.classes == images.classes and adopted.mean == images.mean
    assert list(tmp_path.iterdir()) == []


def test_two_mappings_share_their_memory(tmp_path: Path) -> None:
    published = publish(small_set(), [tmp_path])
    assert published is not None
    with published.path.open("r+b") as file:
        adopted = adopt(published)
        before = adopted.train.pixels[0, 0, 0, 0]
        file.write(bytes([before ^ 0xFF]))
        file.flush()
    assert adopted.train.pixels[0, 0, 0, 0] == before ^ 0xFF


def test_an_empty_test_split_is_shared_too(tmp_path: Path) -> None:
    published = publish(small_set(test=0), [tmp_path])
    assert published is not None and len(adopt(published).test) == 0


def test_where_there_is_no_room_each_rank_keeps_its_own(tmp_path: Path) -> None:
    assert publish(small_set(), [tmp_path / "missing"]) is None


def test_a_folder_that_fills_up_is_left_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, free = tmp_path / "full", tmp_path / "free"
    full.mkdir(), free.mkdir()
    real = os.fdopen

    def fdopen(handle: int, mode: str) -> Any:
        if Path(f"/proc/self/fd/{handle}").readlink().parent == full:
            os.close(handle)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, mode)

    monkeypatch.setattr(os, "fdopen", fdopen)
    published = publish(small_set(), [full, free])
    assert published is not None and published.path.parent == free and list(full.iterdir()) == []
    assert publish(small_set(), [full]) is None


def test_images_that_are_read_when_needed_are_not_copied(tmp_path: Path) -> None:
    images = small_set()
    stored = Encoded(images.train.labels, lambda places: [b""] * len(places), str)
    assert publish(ImageSet("some", stored, stored, ("a",), "here", False, (), ()), [tmp_path]) is None
