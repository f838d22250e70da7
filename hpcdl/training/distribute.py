"""The hook into a Keras optimizer: gradients are averaged over the ranks before anything else sees them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    if hook_of(optimizer):
        raise ConfigError(
            "an optimizer that is distributed already", "one call an optimizer", "remove the second hpcdl.distribute"
        )
    hook = Hook(optimizer.apply)

    # Keras's LossScaleOptimizer passes the second argument by this name.
    def apply(grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        if session.world.size > 1 and not hook.common_start:
            raise ConfigError(
                "training that starts before the ranks share their weights",
                "every rank to start from rank 0's weights",
                "pass callbacks=hpcdl.callbacks() to fit, or call hpcdl.broadcast(model) on the compiled model",
            )
        hook.plain(average(session.engine, list(grads)), trainable_variables=trainable_variables)

    apply.hpcdl = hook  # type: ignore[attr-defined]
    optimizer.apply = apply
    return optimizer


@dataclass
class Hook:
    """What `distribute` put before an optimizer's own `apply`."""

    plain: Callable[..., None]
    common_start: bool = False
    """The ranks have rank 0's weights."""


def hook_of(optimizer: keras.optimizers.Optimizer | None) -> Hook | None:
    """The hook of an optimizer, None where `distribute` was not called on it."""
    return getattr(getattr(optimizer, "apply", None), "hpcdl", None)


def adopt(model: keras.Model, session: Session) -> None:
    """Makes a compiled model fit for distributed steps, before its step is traced.

    `compile` wraps the optimizer in a LossScaleOptimizer under mixed_float16, and applies the
    inner one only where the local gradients are finite: an allreduce there would leave the other
    ranks waiting, so the hook moves to the outer one.
    """
    inner = getattr(model.optimizer, "inner_optimizer", None)
    hook = hook_of(inner)
    if inner is not None and hook is not None:
        inner.apply = hook.plain
        distribute(model.optimizer)
    if hook_of(model.optimizer) and model.jit_compile and session.world.size > 1:
        # An allreduce has no XLA kernel, and Keras compiles the whole step on a GPU by default.
        model.jit_compile = False
        if session.world.is_leader:
            warnings.warn("hpcdl: jit_compile is off, for XLA cannot compile the reduction", stacklevel=2)


def share_start(model: keras.Model, session: Session, root: int = 0) -> None:
    """Gives every rank root's weights and optimizer state, and lets the optimizer train."""
    broadcast_variables(session.engine, [*model.variables, *getattr(model.optimizer, "variables", [])], root)
    hook = hook_of(model.optimizer)
    if hook is not None:
        hook.common_start = True


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
