"""LARS, which Keras does not have: SGD whose step is a fixed share of each kernel's norm."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops


def local_rate(
    weights: tf.Tensor, gradient: tf.Tensor, trust: float, weight_decay: float, epsilon: float = 0.0
) -> tf.Tensor:
    """A layer's own rate, trust * |w| / (|g| + weight_decay * |w| + epsilon); 1 where |w| or |g| is 0.

    You et al. 2017, algorithm 1. The norms are taken in float32, whatever the variables are.
    """
    w, g = (ops.sqrt(ops.sum(ops.square(ops.cast(x, "float32")))) for x in (weights, gradient))
    adapted = ops.divide_no_nan(trust * w, g + weight_decay * w + epsilon)
    return ops.where(ops.logical_and(w > 0, g > 0), adapted, 1.0)


@keras.saving.register_keras_serializable("hpcdl")
class LARS(keras.optimizers.Optimizer):  # type: ignore[misc]
    """Layer-wise adaptive rate scaling: You, Gitman and Ginsburg 2017, "Large Batch Training of Convolutional
    Networks", algorithm 1.

        velocity = momentum * velocity + learning_rate * local_rate * (g + weight_decay * w)
        w = w - velocity

    Vectors (biases, normalisation's scale and offset) take SGD's step, with neither the local rate
    nor decay, as in MLPerf's reference.

    Loading a *compiled* model that was saved with it needs `from hpcdl import LARS` before it, or compile=False.

    Args:
        learning_rate: step size: of vectors as in SGD, of kernels in units of `trust` times their norm.
        momentum: share of the last step that is kept, in [0, 1].
        nesterov: Nesterov's momentum.
        trust: the paper's eta.
        weight_decay: inside the step, as in the paper, and not beside it as in Keras's other optimizers.
        epsilon: added to the local rate's denominator.
        base: what every Keras optimizer takes: name, clipping, moving averages, gradient accumulation.

    Raises:
        ValueError: momentum outside [0, 1].
    """

    def __init__(
        self,
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        nesterov: bool = False,
        trust: float = 0.001,
        weight_decay: float | None = None,
        epsilon: float = 0.0,
        **base: Any,
    ) -> None:
        # The base class would subtract a weight_decay of its own from the weights.
        super().__init__(learning_rate=learning_rate, **base)
        if not 0 <= momentum <= 1:
            raise ValueError(f"`momentum` must be a float between [0, 1]. Received: momentum={momentum}")
        self.momentum, self.nesterov = momentum, nesterov
        self.trust, self.epsilon = trust, epsilon
        self.inner_weight_decay = weight_decay or 0.0

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes a velocity for each variable, if there is momentum."""
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum") if self.momentum else []

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Updates one variable; gradients of embeddings become dense, for their norm is needed."""
        gradient = ops.cast(tf.convert_to_tensor(gradient), variable.dtype)
        step = ops.cast(learning_rate, variable.dtype) * self._direction(gradient, variable)
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)]
            self.assign(velocity, self.momentum * velocity + step)
            step = self.momentum * velocity + step if self.nesterov else velocity
        self.assign_sub(variable, step)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "trust": self.trust,
            "weight_decay": self.inner_weight_decay,
            "epsilon": self.epsilon,
        }

    def _direction(self, gradient: tf.Tensor, variable: tf.Variable) -> tf.Tensor:
        """A step, but for the learning rate and momentum."""
        if len(variable.shape) < 2:
            return gradient
        decay = self.inner_weight_decay if self._use_weight_decay(variable) else 0.0
        local = local_rate(variable, gradient, self.trust, decay, self.epsilon)
        return ops.cast(local, variable.dtype) * (gradient + decay * variable)
