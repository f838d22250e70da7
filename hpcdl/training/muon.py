"""Muon, which Keras has for matrices alone: SGD whose step for a convolution is as long in every direction."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Of x + x³ + x⁵, chosen so that small singular values grow fastest (Jordan et al. 2024)."""
STEPS = 3
"""As in Jordan's training of CIFAR-10; 5 is usual where a step must come closer to orthogonal."""


def orthogonalized(matrix: tf.Tensor) -> tf.Tensor:
    """Nearly U Vᵀ of a matrix U S Vᵀ, (rows, columns): its singular values, brought near 1 by Newton and Schulz.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    rows, columns = matrix.shape
    if columns > rows:
        return tf.transpose(orthogonalized(tf.transpose(matrix)))
    a, b, c = QUINTIC
    x = matrix / (tf.norm(matrix) + 1e-7)
    for _ in range(STEPS):
        gram = tf.matmul(x, x, transpose_a=True)
        x = a * x + tf.matmul(x, b * gram + c * tf.matmul(gram, gram))
    return x


@keras.saving.register_keras_serializable("hpcdl")
class Muon(keras.optimizers.SGD):  # type: ignore[misc]
    """Momentum, orthogonalised: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

    For variables of four dimensions, kernels of 2-D convolutions, as matrices of (height x width x inputs, filters):

        velocity = momentum * velocity + g
        w = w - learning_rate * trust * |w| * U Vᵀ / sqrt(rank), U S Vᵀ being velocity (or nesterov's)

    so that a step is a share of the kernel's norm, as in LARS: where a normalisation follows, as it should, that is
    the reference's step from a kernel that is brought to one norm before each. A norm of 0 counts as 1. All else
    takes SGD's step.

    Loading a *compiled* model that was saved with it needs `from hpcdl import Muon` before it, or compile=False.

    Args:
        learning_rate: step size, of convolutions in units of `trust` times the kernel's norm.
        momentum: share of the last step that is kept, in [0, 1].
        nesterov: Nesterov's momentum.
        trust: a kernel's step in units of its norm at a learning rate of 1.
        base: what every Keras optimizer takes: name, weight decay, clipping, moving averages, accumulation.

    Raises:
        ValueError: momentum outside [0, 1].
    """

    def __init__(
        self,
        learning_rate: float = 1.0,
        momentum: float = 0.6,
        nesterov: bool = True,
        trust: float = 0.1,
        **base: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, momentum=float(momentum), nesterov=nesterov, **base)
        self.trust = trust

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Updates one variable."""
        if len(variable.shape) != 4:
            super().update_step(gradient, variable, learning_rate)
            return
        gradient = tf.cast(gradient, tf.float32)
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)]
            now = self.momentum * tf.cast(velocity, tf.float32) + gradient
            self.assign(velocity, now)
            gradient = gradient + self.momentum * now if self.nesterov else now
        *_, filters = variable.shape
        matrix = tf.reshape(gradient, (-1, filters))
        direction = orthogonalized(matrix) / min(matrix.shape) ** 0.5
        kernel = tf.cast(tf.convert_to_tensor(variable), tf.float32)
        norm = tf.norm(kernel)
        # As LARS does: a kernel that starts at zero would stay there.
        rate = tf.cast(learning_rate, tf.float32) * self.trust * tf.where(norm > 0, norm, 1.0)
        self.assign(variable, kernel - rate * tf.reshape(direction, variable.shape))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "trust": self.trust}
