"""One image as a shard stores it: decoded to prove that it is whole, smaller where that is wanted, and encoded."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from hpcdl.data.images import Images, ImageSet, Split
from hpcdl.data.shards.format import Format
from hpcdl.errors import DataError

Pixels = npt.NDArray[np.uint8]

FORMATS = {"JPEG": "JPEG", "PNG": "PNG", "BMP": "BMP", "GIF": "GIF", "WEBP": "WebP"}
"""What is decoded, and what it is called. Pillow's other formats stay closed, for some of them start programs."""
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WebP",
}
MODES = {
    "1": "black and white",
    "P": "palette",
    "PA": "palette with alpha",
    "LA": "alpha",
    "RGBA": "alpha",
    "RGBX": "alpha",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "I": "16 bit",
    "I;16": "16 bit",
    "I;16B": "16 bit",
}
"""What an image is called that is neither grey nor RGB with 8 bits, by Pillow's mode."""


PNG = b"\x89PNG\r\n\x1a\n"


class BadImage(Exception):
    """Bytes that cannot be decoded, with the reason."""


@dataclass(frozen=True)
class Encoding:
    """How images are stored."""

    format: Format
    """jpeg, or pixels: uint8, row by row."""
    size: int | None
    """The short side of larger images becomes this, the aspect stays; None: all keep their size."""
    quality: int
    """Of a JPEG that is encoded anew, 1 to 100, as libjpeg counts."""


@dataclass(frozen=True)
class Stored:
    """An image as it is stored."""

    data: bytes
    shape: tuple[int, int, int]
    """Height, width, channels."""
    converted: str | None = None
    """What it was, where its colours or its name did not fit."""


def encode(images: ImageSet, split: Split, place: int, how: Encoding) -> Stored:
    """An image of a set as it is stored.

    Args:
        images: the set.
        split: of the set.
        place: in the split.
        how: to store it.

    Raises:
        BadImage: it cannot be read or decoded, or its label is no class.
    """
    label = int(split.labels[place])
    if not 0 <= label < len(images.classes):
        raise BadImage(f"label {label} of a set with {len(images.classes)} classes")
    if isinstance(split, Images):
        return encode_pixels(split.pixels[place], how)
    try:
        data = split.read(np.array([place], np.int64))[0]
    except DataError as error:
        raise BadImage(relative(images, error.received)) from None
    if split.shapes is None:
        return encode_file(data, split.name(place), how)
    expected = int(split.shapes[place].prod(dtype=np.int64))
    if len(data) != expected:
        raise BadImage(f"{len(data):,} bytes of pixels, and not {expected:,}")
    return encode_pixels(np.frombuffer(data, np.uint8).reshape(split.shapes[place]), how)


def relative(images: ImageSet, told: str) -> str:
    """A name or a message without the place of the set: the same files give the same shards wherever they are."""
    return text(told.replace(f"{Path(images.path).absolute()}/", ""))


def text(name: str) -> str:
    """A name that can be stored, whatever bytes it is made of."""
    return name.encode("utf-8", "backslashreplace").decode()


def encode_file(data: bytes, name: str, how: Encoding) -> Stored:
    """An image file as it is stored.

    JPEG files, grey or RGB, that need not shrink are stored as they are. Grey images stay grey as JPEG, and become
    RGB as pixels, since most images of the set have three channels. Other colours become RGB: alpha is dropped, of
    16 bits the upper 8 stay. EXIF's orientation is not looked at, as usual for ImageNet.

    Args:
        data: the file's bytes.
        name: the file's, whose suffix should tell the format.
        how: to store it.

    Raises:
        BadImage: empty, of another format, truncated or damaged.
    """
    image, kind, mode, shrunk = _decode(data, how.size)
    suffix = Path(name).suffix
    oddities = [f"{kind} in a {suffix} file"] if SUFFIXES.get(suffix.lower(), kind) != kind else []
    if mode in MODES:
        oddities.append(MODES[mode])
    converted = ", ".join(oddities) or None
    if how.format == "pixels":
        return _pixels(np.asarray(image.convert("RGB")), converted)
    if kind == "JPEG" and mode not in MODES and not shrunk:
        return Stored(data, (image.height, image.width, len(image.getbands())), converted)
    return _jpeg(image, how.quality, converted)


def encode_pixels(pixels: Pixels, how: Encoding) -> Stored:
    """An image in memory as it is stored.

    Args:
        pixels: (height, width, channels), uint8; 1 or 3 channels, if they shrink or become a JPEG.
        how: to store it.
    """
    height, width, channels = pixels.shape
    target = shrunk_shape(height, width, how.size)
    if target == (height, width) and how.format == "pixels":
        return _pixels(pixels, None)
    image = _resized(Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels), target)
    if how.format == "jpeg":
        return _jpeg(image, how.quality, None)
    return _pixels(np.asarray(image).reshape(*target, channels), None)


def shrunk_shape(height: int, width: int, size: int | None) -> tuple[int, int]:
    """Height and width after the short side has become `size`; those of an image that is no larger stay."""
    short = min(height, width)
    if size is None or short <= size:
        return height, width
    return max(1, round(height * size / short)), max(1, round(width * size / short))


def _decode(data: bytes, size: int | None) -> tuple[Image.Image, str, str, bool]:
    """Grey or RGB pixels at the size that is stored; what format and mode the file has; whether it is larger."""
    if not data:
        raise BadImage("empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if data.startswith(PNG):
                # This alone compares a PNG's checksums, and the image cannot be decoded after it.
                with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                    image.verify()
            with Image.open(io.BytesIO(data), formats=tuple(FORMATS)) as image:
                # The one other name that these give is MPO, a JPEG that others follow.
                kind, mode = FORMATS.get(image.format or "", "JPEG"), image.mode
                shape = image.height, image.width
                target = shrunk_shape(*shape, size)
                if target != shape:
                    # A JPEG comes out at a half, a quarter or an eighth where that is still twice what is wanted.
                    image.draft(None, (2 * target[1], 2 * target[0]))
                image.load()
                return _resized(_plain(image), target), kind, mode, target != shape
    except UnidentifiedImageError:
        names = list(FORMATS.values())
        raise BadImage(f"no image in {', '.join(names[:-1])} or {names[-1]}; it begins with {data[:8]!r}") from None
    except (BadImage, MemoryError):
        raise
    # What a decoder raises for damaged bytes is not in its contract: OSError, SyntaxError, struct.error and more.
    except Exception as error:
        raise BadImage(" ".join(str(error).split()) or type(error).__name__) from None


def _plain(image: Image.Image) -> Image.Image:
    """The same in grey or RGB."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode not in MODES:
        raise BadImage(f"pixels of mode {image.mode}")
    if MODES[image.mode] == "16 bit":
        # Pillow would cut values off at 255.
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    # Pillow's own way from a palette with alpha to RGB warns.
    return (image.convert("RGBA") if image.mode in ("P", "PA") else image).convert("RGB")


def _resized(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """An image of (height, width) `target`: Lanczos, over all pixels that fall into one."""
    height, width = target
    if (image.height, image.width) == target:
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int, converted: str | None) -> Stored:
    file = io.BytesIO()
    image.info.clear()  # Pillow would copy the comment
    image.save(file, "JPEG", quality=quality)
    return Stored(file.getvalue(), (image.height, image.width, len(image.getbands())), converted)


def _pixels(pixels: Pixels, converted: str | None) -> Stored:
    height, width, channels = pixels.shape
    return Stored(pixels.tobytes(), (height, width, channels), converted)
