"""Which stored images cannot be decoded, and why: names the culprit when training meets one."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable

import numpy as np
from PIL import Image, UnidentifiedImageError

from hpcdl.data.images import Encoded
from hpcdl.errors import DataError

FORMATS = ("JPEG", "PNG", "GIF", "BMP")
"""What TensorFlow decodes. Pillow knows more, such as WebP, which must be told even under the name of a JPEG."""


def damaged(split: Encoded, places: Iterable[int]) -> list[tuple[str, str]]:
    """Decodes images fully, one by one.

    A JPEG with wrong bytes in its middle decodes, to wrong pixels; checksums tell of them in a PNG only.

    Args:
        split: of stored images, or of pixels, whose length is compared with their shape.
        places: which of them.

    Returns:
        (name, why) of each that cannot be decoded or read, in the order of `places`.
    """
    found = []
    for place in places:
        why = _damage(split, int(place))
        if why is not None:
            found.append((split.name(int(place)), why))
    return found


def _damage(split: Encoded, place: int) -> str | None:
    try:
        data = split.read(np.array([place], np.int64))[0]
    except DataError as error:
        return error.received
    if not data:
        return "empty (0 bytes)"
    if split.shapes is None:
        return _undecodable(data)
    expected = int(split.shapes[place].prod(dtype=np.int64))
    return None if len(data) == expected else f"{len(data):,} bytes of pixels, and not {expected:,}"


def _undecodable(data: bytes) -> str | None:
    """Why stored bytes are no image; None where they are one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow warns above a limit and fails above twice that; here the limit is what it warns of.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # verify() reads the checksums of a PNG, and an image cannot be decoded after it.
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.verify()
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.load()
    except UnidentifiedImageError:
        return f"no image in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; it begins with {data[:8]!r}"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return f"decompression bomb: {error}"
    # What a decoder raises for damaged bytes is not in its contract: OSError, SyntaxError, struct.error and more.
    except Exception as error:
        return f"{error or type(error).__name__}"
    return None
