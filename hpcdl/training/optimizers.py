"""From a recipe to its Keras optimizer, and what a changing rate asks of it."""

from __future__ import annotations

import keras

from hpcdl.config.schema import OptimizerConfig
from hpcdl.training.lars import LARS
from hpcdl.training.muon import Muon

CLASSES = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "nadam": keras.optimizers.Nadam,
    "lamb": keras.optimizers.Lamb,
    "lars": LARS,
    "muon": Muon,
}
NOT_KERNELS = {"bias", "gamma", "beta", "scale", "alpha"}
"""Keras's names for biases, what normalisation multiplies by and adds, and PReLU's slopes."""


def make_optimizer(config: OptimizerConfig, model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer that a recipe names, not built yet.

    With decay=kernels only kernels decay: neither normalisation's scale and offset (Goyal et al. 2017,
    "Accurate, Large Minibatch SGD", section 5.1) nor biases (He et al. 2019, "Bag of Tricks for Image
    Classification with Convolutional Neural Networks", section 3.1). Keras does not save that choice
    with an optimizer, so one that was loaded from a file decays all.

    Args:
        config: the recipe's.
        model: built; whose variables the optimizer will train.
    """
    optimizer = CLASSES[config.name](**config.options)
    if config.decay == "kernels":
        optimizer.exclude_from_weight_decay(
            var_list=[variable for variable in model.trainable_variables if not is_kernel(variable)]
        )
    return optimizer


def is_kernel(variable: keras.Variable) -> bool:
    """Whether a variable mixes inputs, as kernels and embeddings do, and does not shift or scale one.

    Neither shape nor name tells alone: the biases of EinsumDense, attention and GRU and the scale of a
    normalisation over several axes are no vectors, and a layer of the user's names its bias as it likes.
    """
    return len(variable.shape) > 1 and variable.name not in NOT_KERNELS


def correct_momentum(optimizer: keras.optimizers.Optimizer, ratio: float) -> None:
    """Multiplies SGD's velocities by new rate / old rate; to be called between two updates whose rates differ.

    Keras keeps the rate inside the velocity, as equation 10 of Goyal et al. 2017 ("Accurate, Large
    Minibatch SGD", section 3, remark 2) does; with this factor it stays equal to equation 9, whose
    velocity knows no rate. Works eagerly and inside a tf.function.

    Args:
        optimizer: SGD, built, alone or in a LossScaleOptimizer; without momentum nothing changes.
        ratio: the new rate over the old one, a number or a scalar tensor.
    """
    for velocity in getattr(optimizer, "inner_optimizer", optimizer).momentums:
        velocity.assign(velocity * ratio)
