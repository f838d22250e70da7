"""The hook into a Keras optimizer: gradients are averaged over the ranks before anything else sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from hpcdl.engine.base import Engine
from hpcdl.errors import ConfigError
from hpcdl.training.agreement import agree
from hpcdl.training.gradients import Gradient, average, weigh
from hpcdl.training.session import Session, current
from hpcdl.training.step import count_samples

WIRES = {"none": None, "fp16": tf.float16, "bf16": tf.bfloat16}
Apply = Callable[..., None]
Held = list[tuple[list[Gradient], Any]]


def distribute(optimizer: keras.optimizers.Optimizer, *, compression: str | None = None) -> keras.optimizers.Optimizer:
    """Makes an optimizer average gradients over the ranks, by sample count.

    The same object comes back: its class and configuration do not change, so a saved model
    loads in plain Keras. The average is made in `apply`, which Keras calls before the finite
    check, clipping, weight decay and moving averages; with `gradient_accumulation_steps`, once
    an update, after the accumulation.

    Args:
        optimizer: a Keras 3 optimizer.
        compression: "fp16" or "bf16" sends gradients in 16 bits and adds them up in 32; None or
            "none" sends them as they are.

    Raises:
        ConfigError: it is no Keras 3 optimizer, Horovod's wrapper, or distributed already, or there
            is no such compression.
        WorldError: `hpcdl.init` was not called.
    """
    session = current()
    _check(optimizer, compression)
    hook = Hook(session, optimizer.apply, wire=WIRES[compression or "none"])
    _install(hook, optimizer)
    return optimizer


def _check(optimizer: Any, compression: str | None) -> None:
    if type(optimizer).__module__.startswith("horovod"):
        raise ConfigError(
            f"Horovod's wrapper around {type(optimizer).__name__}, which reduces nothing under Keras 3",
            "a Keras 3 optimizer",
            f"remove hvd.DistributedOptimizer: hpcdl.distribute(keras.optimizers.{type(optimizer).__name__}(…))",
        )
    if isinstance(optimizer, keras.Model):
        raise ConfigError(
            "a model",
            "a Keras 3 optimizer, before the model is compiled",
            "model.compile(optimizer=hpcdl.distribute(optimizer), …)",
        )
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        kind = f"{type(optimizer).__module__}.{type(optimizer).__name__}"
        raise ConfigError(kind, "a Keras 3 optimizer", "pass keras.optimizers.SGD(…), for example")
    if hook_of(optimizer):
        raise ConfigError(
            "an optimizer that is distributed already", "one call an optimizer", "remove the second hpcdl.distribute"
        )
    if compression is not None and compression not in WIRES:
        raise ConfigError(f"compression={compression!r}", "None, 'fp16' or 'bf16'", "leave it out to send 32 bits")


@dataclass
class Hook:
    """What `distribute` puts before an optimizer's own `apply`."""

    session: Session
    plain: Apply
    wire: tf.DType | None = None
    """What gradients travel in."""
    common_start: bool = False
    """The ranks have rank 0's weights."""
    statistics: list[keras.Variable] = field(default_factory=list)
    """What normalisation layers collect: averaged with the gradients, so that replicas stay alike."""
    vote: keras.Variable = field(default_factory=lambda: keras.Variable(0.0, "float32", trainable=False, name="vote"))
    """Above 0 on every rank after an update for which any rank has set it: averaged with the gradients."""
    held: Held | None = None
    """Calls that wait until a compiled step is over; None applies at once."""
    accumulates: bool = False
    """The optimizer accumulates: gradients are averaged over the ranks when it makes an update."""

    def apply(self, grads: Sequence[Gradient], trainable_variables: Any = None) -> None:
        """Averages and applies; Keras's LossScaleOptimizer passes the second argument by this name."""
        if self.held is not None:
            variables = None if trainable_variables is None else list(trainable_variables)
            self.held.append((list(grads), variables))
            return
        session = self.session
        if session.world.size == 1:
            self.plain(grads, trainable_variables=trainable_variables)
            return
        if not self.common_start:
            raise ConfigError(
                "training that starts before the ranks share their weights",
                "every rank to start from rank 0's weights",
                "pass callbacks=hpcdl.callbacks() to fit, or call hpcdl.broadcast(model) on the compiled model",
            )
        if session.samples is None and session.ragged:
            raise ConfigError(
                "a training loop of your own over a shard that gives ranks unequal parts",
                "every sample to count once",
                "hpcdl.shard(…, weights=True) yields (x, y, sample_weight): use the weights in your loss",
            )
        own = [variable.value for variable in self.statistics]
        if self.accumulates:
            gradients, (*means, vote) = weigh(session.engine, list(grads), [*own, self.vote.value], session.samples)
        else:
            # As a gradient, for statistics travel in a buffer of their own, and most networks have none.
            grads = [*grads, self.vote.value]
            (*gradients, vote), means = average(session.engine, list(grads), own, session.samples, self.wire)
        for variable, value in zip([*self.statistics, self.vote], [*means, vote], strict=True):
            variable.assign(value)
        self.plain(gradients, trainable_variables=trainable_variables)

    @contextmanager
    def holding(self) -> Iterator[Held]:
        """Inside, calls are kept and not applied."""
        self.held = Held()
        try:
            yield self.held
        finally:
            self.held = None


def _install(hook: Hook, optimizer: keras.optimizers.Optimizer) -> None:
    # A function and no method of the hook: Keras may copy an optimizer deeply, and ranks cannot be copied.
    def apply(grads: Sequence[Gradient], trainable_variables: Any = None) -> None:
        hook.apply(grads, trainable_variables)

    apply.hpcdl = hook  # type: ignore[attr-defined]
    optimizer.apply = apply
    accumulator = getattr(optimizer, "inner_optimizer", optimizer)
    steps = getattr(accumulator, "gradient_accumulation_steps", None)
    if steps and hook.session.world.size > 1 and not hook.accumulates:
        hook.accumulates = True
        _average_before(accumulator, hook)


def _average_before(optimizer: keras.optimizers.Optimizer, hook: Hook) -> None:
    """Averages what has been accumulated; clipping is what Keras does first when an update is due."""
    clip = optimizer._clip_gradients

    def average_and_clip(grads: Sequence[Gradient]) -> Any:
        means, _ = average(hook.session.engine, list(grads), wire=hook.wire)
        return clip(means)

    optimizer._clip_gradients = average_and_clip


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
        hook.plain = model.optimizer.apply
        _install(hook, model.optimizer)
    hook = hook_of(model.optimizer)

    def on_built() -> None:
        if hook is not None and not hook.common_start:
            share_start(model, session)

    if session.world.size > 1:
        count_samples(model, session, hook, on_built)


def statistics(model: keras.Model) -> list[keras.Variable]:
    """The floating state that a training step may change besides the weights: moving statistics."""
    frozen = {id(variable) for layer in model._flatten_layers() if not layer.trainable for variable in layer.variables}
    return [
        variable
        for variable in model.non_trainable_variables
        if id(variable) not in frozen and tf.as_dtype(variable.dtype).is_floating
    ]


def share_start(model: keras.Model, session: Session, root: int = 0) -> None:
    """Gives every rank root's weights and optimizer state, and lets the optimizer train.

    Done once, and again where a `fit` or `broadcast` begins; a model that is not built yet gets
    its weights, and shares them, before its first step.

    Raises:
        ConfigError: the ranks' models or optimizers are not alike.
    """
    agree(session.engine, "the model's variables", _shapes(model.variables), "build the same model on every rank")
    agree(session.engine, "the optimizer", _settings(model.optimizer), "compile the same optimizer on every rank")
    give_start(model, session, root)


def give_start(model: keras.Model, session: Session, root: int = 0) -> None:
    """Does what `share_start` does for ranks that are known to be alike but for their values."""
    broadcast_variables(session.engine, [*model.variables, *getattr(model.optimizer, "variables", [])], root)
    hook = hook_of(model.optimizer)
    if hook is not None:
        hook.common_start = True
        hook.statistics = statistics(model)


def _shapes(variables: Sequence[keras.Variable]) -> list[str]:
    """What must agree; names do not, for they count what a process has built before."""
    return [f"{tuple(each.shape)} {each.dtype}{'' if each.trainable else ' frozen'}" for each in variables]


def _settings(optimizer: keras.optimizers.Optimizer | None) -> str:
    if optimizer is None:
        return "none"
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    settings = {key: value for key, value in inner.get_config().items() if key != "name"}
    return f"{type(inner).__name__} {settings}, of {len(optimizer.variables)} variables"


def broadcast_variables(engine: Engine, variables: Sequence[Any], root: int = 0) -> None:
    """Gives every rank root's value of each variable (Keras or TensorFlow)."""
    for variable in variables:
        value = variable.value if isinstance(variable, keras.Variable) else variable
        value.assign(engine.broadcast_array(value.numpy(), root))
