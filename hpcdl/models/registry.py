"""The networks by name. Looking at the list imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from hpcdl.errors import ConfigError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Entry:
    """Where a network's builder is: a function (shape, classes) -> keras.Model."""

    module: str
    function: str
    summary: str
    parameters: int
    """For CIFAR-10: 32 x 32 x 3 pixels, 10 classes."""


MODELS = {
    "cifar10-cnn": Entry("hpcdl.models.book", "cifar10_cnn", "the book's three-convolution network", 122_570),
    "resnet20": Entry("hpcdl.models.resnet", "resnet20", "ResNet-20 for small images (He et al. 2015)", 271_098),
}


def check(name: str) -> Entry:
    """The entry of a name.

    Raises:
        ConfigError: no model has that name.
    """
    if name not in MODELS:
        near = get_close_matches(name, MODELS, n=1)
        raise ConfigError(
            f"model.name={name!r}",
            "one of: " + ", ".join(MODELS),
            f"did you mean {near[0]!r}?" if near else "`hpcdl models list` shows what there is",
        )
    return MODELS[name]


def build(name: str, shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Builds a network for images of a shape (height, width, channels)."""
    entry = check(name)
    model: keras.Model = getattr(import_module(entry.module), entry.function)(shape, classes)
    return model
