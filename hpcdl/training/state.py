"""What a network keeps besides its weights: moving statistics and the seeds of random layers."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from hpcdl.errors import ConfigError


class State:
    """The non-trainable variables of a network, as values of one micro-batch.

    A moving statistic is m ← momentum x m + (1 - momentum) x s for the statistic s of each
    micro-batch in turn. A micro-batch therefore starts from 0 and adds (1 - momentum) x s;
    whoever has all the parts can put them in their order.

    Args:
        model: built.
    """

    def __init__(self, model: keras.Model) -> None:
        momenta = _momenta(model)
        self._variables: list[keras.Variable] = model.non_trainable_variables
        self._moving = [place for place, each in enumerate(self._variables) if id(each) in momenta]
        self._random = [place for place, each in enumerate(self._variables) if each.name == "seed_generator_state"]
        self.momenta = [momenta[id(self._variables[place])] for place in self._moving]
        """The momentum of each moving statistic."""

    @property
    def moving(self) -> list[tf.Tensor]:
        """The moving statistics."""
        return [self._variables[place].value for place in self._moving]

    @property
    def random_layers(self) -> int:
        """Layers that draw random numbers."""
        return len(self._random)

    def start(self, seeds: tf.Tensor) -> list[tf.Tensor]:
        """What a micro-batch begins with: statistics of 0, and the seeds (random layers, 2) that are its own."""
        values = [tf.convert_to_tensor(variable.value) for variable in self._variables]
        for place in self._moving:
            values[place] = tf.zeros_like(values[place])
        for number, place in enumerate(self._random):
            values[place] = tf.cast(seeds[number], values[place].dtype)
        return values

    def added(self, start: Sequence[tf.Tensor], after: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """What a micro-batch adds to each moving statistic.

        Raises:
            ConfigError: the network keeps state that nobody knows how to combine.
        """
        for place, variable in enumerate(self._variables):
            changes = after[place] is not start[place]
            if changes != (place in self._moving) and place not in self._random:
                raise ConfigError(
                    f"a network whose {variable.path} is {'' if changes else 'not '}changed by training",
                    "no state but moving statistics of BatchNormalization and seeds",
                    "train it with model.fit and hpcdl.distribute, which average what layers keep",
                )
        return [after[place] for place in self._moving]

    def add(self, added: Sequence[tf.Tensor], micros: tf.Tensor) -> None:
        """Moves the statistics by what the micro-batches of an update added, folded in their order."""
        for place, momentum, value in zip(self._moving, self.momenta, added, strict=True):
            variable = self._variables[place]
            variable.assign(variable.value * momentum ** tf.cast(micros, tf.float32) + value)


def _momenta(model: keras.Model) -> dict[int, float]:
    """Momentum by the id of each moving statistic that training changes."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    return {
        id(variable): float(layer.momentum)
        for layer in layers
        if layer.trainable
        for variable in (layer.moving_mean, layer.moving_variance)
    }
