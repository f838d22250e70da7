"""The hook into a Keras optimizer: gradients are averaged over the ranks before anything else sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from hpcdl.engine.base import Engine
from hpcdl.errors import ConfigError
from hpcdl.training.gradients import average
from hpcdl.training.session import Session, current


def distribute(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Makes an optimizer average gradients over the ranks.

    The same object comes back: its class and configuration do not change, so a saved model
    loads in plain Keras. The average is made in `apply`, which Keras calls before the finite
    check, clipping, weight decay and moving averages.

    Args:
        optimizer: a Keras 3 optimizer that is not in use yet.

    Raises:
        ConfigError: it is no Keras 3 optimizer, or it is distributed already.
        WorldError: `hpcdl.init` was not called.
    """
    session = current()
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ConfigError(
            f"{type(optimizer).__module__}.{type(optimizer).__name__}",
            "a Keras 3 optimizer",
            "pass keras.optimizers.SGD(…), for example",
        )
    if is_distributed(optimizer):
        raise ConfigError(
            "an optimizer that is distributed already", "one call a optimizer", "remove the second hpcdl.distribute"
        )
    plain = optimizer.apply

    # Keras's LossScaleOptimizer passes the second argument by this name.
    def apply(grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        _require_alike(session)
        plain(average(session.engine, list(grads)), trainable_variables=trainable_variables)

    apply.hpcdl_plain = plain  # type: ignore[attr-defined]
    optimizer.apply = apply
    return optimizer


def is_distributed(optimizer: keras.optimizers.Optimizer) -> bool:
    """True once `distribute` has been called on the optimizer."""
    return hasattr(optimizer.apply, "hpcdl_plain")


def lift_over_loss_scaling(optimizer: keras.optimizers.Optimizer) -> None:
    """Moves the hook from an optimizer to the LossScaleOptimizer that `compile` put around it.

    The inner optimizer is applied only where the local gradients are finite: an allreduce there
    would leave the other ranks waiting.
    """
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None and is_distributed(inner):
        inner.apply = inner.apply.hpcdl_plain
        distribute(optimizer)


def broadcast_variables(engine: Engine, variables: Sequence[Any], root: int = 0) -> None:
    """Gives every rank root's value of each variable (Keras or TensorFlow)."""
    for variable in variables:
        value = variable.value if isinstance(variable, keras.Variable) else variable
        value.assign(engine.broadcast_array(value.numpy(), root))


def mean_statistics(engine: Engine, model: keras.Model) -> None:
    """Averages what ranks collect apart over the ranks: the moving statistics of normalisation layers."""
    if engine.size == 1:
        return
    for variable in model.non_trainable_variables:
        if tf.as_dtype(variable.dtype).is_floating:
            variable.assign(engine.sum_array(variable.numpy()) / engine.size)


def _require_alike(session: Session) -> None:
    if session.world.size > 1 and not session.replicas_alike:
        raise ConfigError(
            "training that starts before the ranks share their weights",
            "every rank to start from rank 0's weights",
            "pass callbacks=hpcdl.callbacks() to fit, or call hpcdl.broadcast(model) before a loop of your own",
        )
