"""Image files of a user, as a run's network sees them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from hpcdl.data.images import Encoded, Images, ImageSet, Split
from hpcdl.data.inspect_images import FORMATS
from hpcdl.errors import DataError, RecordError
from hpcdl.training.evaluation import answer
from hpcdl.training.finished import AGAIN, Network

Pixels = npt.NDArray[np.uint8]
FILES = ("imagenet", "folder")
"""Sources whose images are files of many sizes, which the input pipeline itself cuts and scales."""
SHOWN = 400
"""Pixels of the longer side of what is drawn."""
ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held; 1 is upright."""


@dataclass(frozen=True)
class Picture:
    """One image file."""

    path: Path
    seen: bytes | Pixels
    """What the input pipeline gets: a file's bytes, or pixels (height, width, channels) of the network's size."""
    shown: Pixels
    """To be drawn, (height, width, 3)."""


@dataclass(frozen=True)
class Guess:
    """A class, and the probability that a model gives it."""

    name: str
    probability: float


def read_picture(path: Path, network: Network) -> Picture:
    """Reads an image file in any format that Pillow knows, and turns it upright as its EXIF says.

    For a network that was trained on files of many sizes, the pipeline scales and cuts it as it does in an evaluation.
    For others, as MNIST's or CIFAR's, the whole picture is scaled to the network's size, bilinear and antialiased, and
    made grey for a network with one channel. MNIST's digits are white on black.

    Raises:
        DataError: it cannot be read or is no image.
    """
    try:
        stored = path.read_bytes()
        with warnings.catch_warnings():
            # Pillow warns above a limit and fails above twice that; here the limit is what it warns of.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(stored)) as image:
                image.load()
                return _picture(path, stored, image, network)
    except OSError as error:
        told = "not an image in a format that Pillow knows"
        why = told if isinstance(error, UnidentifiedImageError) else error.strerror or str(error)
        raise _unusable(path, why) from None
    except DataError:
        raise
    except Exception as error:  # what a decoder raises for damaged bytes is not in its contract
        raise _unusable(path, str(error) or type(error).__name__) from None


def guesses(network: Network, pictures: Sequence[Picture], top: int) -> list[list[Guess]]:
    """The most probable classes of each picture, best first.

    Args:
        network: the model.
        pictures: at least one, from `read_picture` for this model.
        top: how many classes, if there are so many.

    Raises:
        DataError: one cannot be decoded.
        RecordError: environment.json does not tell classes or channel statistics.
    """
    environment = network.run.environment
    missing = [key for key in ("classes", "mean", "std") if not isinstance(environment.get(key), list)]
    if missing or len(environment["classes"]) != network.outputs:
        told = f"without {missing[0]}" if missing else f"with {len(environment['classes'])} classes"
        raise RecordError(
            f"{network.run.folder / 'environment.json'} {told} for a model with {network.outputs} outputs",
            "the classes, mean and std of the data that the run was trained with",
            AGAIN,
        )
    split = _split(pictures)
    images = ImageSet(
        name="pictures",
        train=split,
        test=split,
        classes=tuple(environment["classes"]),
        path="the command line",
        synthetic=False,
        mean=tuple(environment["mean"]),
        std=tuple(environment["std"]),
    )
    answers = answer(network, images, split, top=top)
    return [
        [Guess(images.classes[label], float(probability)) for label, probability in zip(classes, best, strict=True)]
        for classes, best in zip(answers.top, answers.probabilities, strict=True)
    ]


def _picture(path: Path, stored: bytes, image: Image.Image, network: Network) -> Picture:
    height, width, channels = network.shape
    upright = image.getexif().get(ORIENTATION, 1) == 1
    whole = _plain(path, image if upright else ImageOps.exif_transpose(image))
    if network.run.config.data.source not in FILES:
        if channels not in (1, 3):
            raise _unusable(path, f"no way to make {channels} channels of it")
        scaled = whole.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
        return Picture(path, np.asarray(scaled, np.uint8).reshape(height, width, channels), _shrunk(whole))
    if not upright or image.format not in FORMATS:
        # As TensorFlow reads a JPEG: at half, a quarter or an eighth where that is no smaller than the network's size.
        spare = min(whole.height // height, whole.width // width)
        halved = whole.convert("RGB").reduce(max(power for power in (1, 2, 4, 8) if power <= max(spare, 1)))
        file = io.BytesIO()
        halved.save(file, "PNG", compress_level=1)
        stored = file.getvalue()
    return Picture(path, stored, _shrunk(whole))


def _plain(path: Path, image: Image.Image) -> Image.Image:
    """A picture whose pixels have 8 bits: Pillow cuts off what is above 255 where it converts more."""
    if image.mode.startswith("I"):
        values = np.asarray(image, np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise _unusable(path, "pixels of 32 bits")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise _unusable(path, "pixels that are no whole numbers")
    return image


def _shrunk(image: Image.Image) -> Pixels:
    colour = image.convert("RGB")
    colour.thumbnail((SHOWN, SHOWN))
    return np.asarray(colour, np.uint8)


def _split(pictures: Sequence[Picture]) -> Split:
    labels = np.zeros(len(pictures), np.int32)
    seen = [picture.seen for picture in pictures]
    stored = [each for each in seen if isinstance(each, bytes)]
    if not stored:
        return Images(np.stack([each for each in seen if not isinstance(each, bytes)]), labels)

    def read(places: npt.NDArray[np.int64]) -> list[bytes]:
        return [stored[place] for place in places]

    return Encoded(labels, read, lambda place: str(pictures[place].path))


def _unusable(path: Path, why: str) -> DataError:
    return DataError(f"{path}: {why}", "an image that can be decoded", "repair or convert it, or leave it out")
