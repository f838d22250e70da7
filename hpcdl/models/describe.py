"""What a network consists of, found without giving memory to its weights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod

import keras

from hpcdl.models.entry import Shape
from hpcdl.models.registry import build


@dataclass(frozen=True)
class Layer:
    """One layer."""

    name: str
    kind: str
    """Its class."""
    output: str
    """Shape without the batch, as 16 x 16 x 32; empty where Keras does not know it."""
    parameters: int


@dataclass(frozen=True)
class Description:
    """A network, built for a shape and a number of classes."""

    layers: tuple[Layer, ...]
    parameters: int
    """Trainable or not, and without the seeds of random layers."""
    trainable: int


def describe(name: str, shape: Shape, classes: int) -> Description:
    """The layers of a network in the order of the forward pass.

    Args:
        name: of the registry.
        shape: (height, width, channels) of the images.
        classes: that the network tells apart.

    Raises:
        ConfigError: there is no such network, or it cannot be built for that shape.
    """
    # Keras numbers layers, and notes weights without values to give them some later, in each thread apart.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_describe, name, shape, classes).result()


def _describe(name: str, shape: Shape, classes: int) -> Description:
    with keras.StatelessScope(initialize_variables=False):
        model = build(name, shape, classes)
        layers = tuple(
            Layer(layer.name, type(layer).__name__, _output(layer), layer.count_params()) for layer in model.layers
        )
        trainable = sum(prod(weight.shape) for weight in model.trainable_weights)
        return Description(layers, model.count_params(), trainable)


def _output(layer: keras.layers.Layer) -> str:
    """The shape of a layer's output, of its first where there are several."""
    try:
        output = layer.output
    except (AttributeError, ValueError):  # it was never called, or several times
        return ""
    first = output[0] if isinstance(output, (list, tuple)) else output
    return " x ".join(str(size) for size in first.shape[1:])
