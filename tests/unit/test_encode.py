"""What a file or an array becomes in a shard, and what is bad."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from image_files import COLOURS, stored
from PIL import Image

from hpcdl.data.shards.encode import BadImage, Encoding, encode_file, encode_pixels, shrunk_shape

JPEG, PIXELS = Encoding("jpeg", None, 95), Encoding("pixels", None, 95)


def pixels(data: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(shape)


def decoded(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


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
