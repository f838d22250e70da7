"""Images that cannot be decoded are named, with the reason; those that can are not."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from hpcdl.data.images import Encoded
from hpcdl.data.inspect_images import damaged
from hpcdl.errors import DataError


def stored(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> bytes:
    """Noise, so that a cut in the middle of a file is one in the middle of the image."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert("RGB").convert(mode).save(buffer, kind)
    return buffer.getvalue()


def encoded(images: Sequence[bytes], shapes: npt.NDArray[np.int32] | None = None) -> Encoded:
    def read(places: npt.NDArray[np.int64]) -> list[bytes]:
        return [images[place] for place in places]

    return Encoded(np.zeros(len(images), np.int32), read, lambda place: f"file {place}", shapes)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "1", "P"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_good_images_are_not_named(kind: str, mode: str) -> None:
    if (kind, mode) not in (("JPEG", "P"), ("PNG", "CMYK"), ("GIF", "CMYK"), ("BMP", "CMYK")):
        assert damaged(encoded([stored(kind, mode)]), [0]) == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_named(kind: str, share: float) -> None:
    whole = stored(kind)
    images = [whole, whole[: int(len(whole) * share)], whole]
    found = damaged(encoded(images), [2, 1, 0])
    assert [name for name, _ in found] == ["file 1"]
    assert found[0][1]


@pytest.mark.parametrize("byte", [500, -16])
def test_a_png_with_a_changed_byte_is_named(byte: int) -> None:
    """In the pixels, or in their checksum, which is followed by the 12 bytes of the end (PNG, section 5.3)."""
    changed = bytearray(stored("PNG"))
    changed[byte] ^= 1
    assert len(damaged(encoded([bytes(changed)]), [0])) == 1


def test_what_is_no_image_is_named_in_the_order_that_was_asked_for() -> None:
    webp = io.BytesIO()
    Image.new("RGB", (8, 8)).save(webp, "WEBP")
    found = damaged(encoded([b"", b"<html>not found</html>", webp.getvalue(), stored("JPEG")]), [3, 2, 0, 1])
    assert [name for name, _ in found] == ["file 2", "file 0", "file 1"]
    assert "RIFF" in found[0][1] and "empty" in found[1][1] and "<html" in found[2][1]


@pytest.mark.parametrize("limit", [1000, 500])
def test_a_decompression_bomb_is_named_and_not_decoded(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """1,200 pixels: Pillow warns above its limit and fails above twice that."""
    bomb = encoded([stored("PNG")])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(PngImageFile, "load", lambda image: pytest.fail("decoded"))
    ((name, why),) = damaged(bomb, [0])
    assert name == "file 0" and "decompression bomb" in why


def test_what_cannot_be_read_is_named() -> None:
    def read(places: npt.NDArray[np.int64]) -> list[bytes]:
        raise DataError(f"/sets/{places[0]}.jpg: No such file", "an image", "copy it again")

    split = Encoded(np.zeros(9, np.int32), read, lambda place: f"/sets/{place}.jpg")
    assert damaged(split, np.array([7])) == [("/sets/7.jpg", "/sets/7.jpg: No such file")]


def test_pixels_have_the_length_that_their_shape_says() -> None:
    shapes = np.array([[2, 3, 3], [2, 3, 1], [4, 4, 3]], np.int32)
    found = damaged(encoded([bytes(18), bytes(6), bytes(47)], shapes), range(3))
    assert found == [("file 2", "47 bytes of pixels, and not 48")]
