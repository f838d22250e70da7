"""Random pixels in the shape of a data set, made once in memory: what a benchmark of all but the input trains on."""

from __future__ import annotations

import numpy as np

from hpcdl.config.schema import DataConfig
from hpcdl.data.images import MEMORY, Images, ImageSet
from hpcdl.errors import ConfigError

SHAPES = {
    "mnist": (28, 1, 10),
    "fashion-mnist": (28, 1, 10),
    "cifar10": (32, 3, 10),
    "cifar100": (32, 3, 100),
    "imagenet": (None, 3, 1000),
    "folder": (None, 3, None),
    "npz": (None, 3, None),
}
"""(height and width, channels, classes) of the sets; None: each has its own."""
TEST = 256
"""Test images, at most."""


def random_images(config: DataConfig) -> ImageSet:
    """`data.synthetic` training images of the size that the network sees; the same each time.

    Raises:
        ConfigError: the set does not tell its size or classes, and the recipe neither.
    """
    side, channels, every = SHAPES[config.source]
    size = config.size or side
    named = config.classes if isinstance(config.classes, list) else None
    classes = len(named) if named else config.classes or every
    if size is None or classes is None:
        raise ConfigError(
            f"data.synthetic with {config.source}, whose size and classes are its own",
            "data.size and data.classes with it",
            "add data.size=224 data.classes=10",
        )
    count = config.synthetic or 1
    random = np.random.default_rng(0)

    def split(images: int) -> Images:
        pixels = np.frombuffer(random.bytes(images * size * size * channels), np.uint8)
        labels = random.integers(0, int(str(classes)), images, dtype=np.int32)
        return Images(pixels.reshape(images, size, size, channels), labels)

    names = tuple(named or [str(number) for number in range(int(str(classes)))])
    train, test = split(count), split(min(count, TEST))
    # Mean and deviation of uniform pixels in [0, 1].
    mean, std = (0.5,) * channels, (12**-0.5,) * channels
    return ImageSet(config.source, train, test, names, MEMORY, True, mean, std)
