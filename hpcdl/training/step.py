"""A model's own steps, told how many samples this rank brings, and compiled where XLA is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import tensorflow as tf

from hpcdl.errors import ConfigError
from hpcdl.training.session import Session

if TYPE_CHECKING:
    from hpcdl.training.distribute import Hook

Step = Callable[[Any], Any]


class Wrapped(NamedTuple):
    """What stands behind a model's replaced train_step."""

    train: Step
    test: Step
    hook: Hook | None


def count_samples(model: keras.Model, session: Session, hook: Hook | None, on_built: Callable[[], None]) -> None:
    """Replaces train_step and test_step of this model; the steps may be the user's own.

    Ranks may hold different numbers of samples, also none. An empty batch would make NaN of means
    and moments, so a sample of zeros stands in for it: its gradients and statistics weigh nothing,
    and the metrics' state is put back.

    Args:
        model: compiled.
        session: the ranks, and where the count of samples is told.
        hook: of the model's optimizer.
        on_built: called before the first step, when the model's weights exist.
    """
    before: Wrapped | None = getattr(model.train_step, "hpcdl", None)
    if before is not None and before.hook is hook and not model.jit_compile:
        return
    plain = Wrapped(model.train_step, model.test_step, hook) if before is None else before._replace(hook=hook)
    train, started = plain.train, False
    if hook is not None and model.jit_compile:
        # XLA has no kernel for an allreduce, and Keras would compile the whole step.
        model.jit_compile = False
        train = compiled(train, hook)

    def train_step(data: Any) -> Any:
        nonlocal started
        if not started:
            started = True
            with tf.init_scope():  # now, and not as part of the step that is being traced
                complete(model, session, data)
                on_built()
        return _counted(train, model, session, data)

    def test_step(data: Any) -> Any:
        with tf.init_scope():
            complete(model, session, data)
        return _counted(plain.test, model, session, data)

    train_step.hpcdl = plain  # type: ignore[attr-defined]
    model.train_step, model.test_step = train_step, test_step
    model.train_function = model.test_function = None  # what was traced before knows nothing of this


def complete(model: keras.Model, session: Session, data: Any) -> None:
    """Creates weights and metrics, which Keras would create while it traces the first step.

    Ranks must share weights before that step, and put back metrics that an empty batch changed.
    The optimizer's state is left to its first update: ScheduleFreeAdamW has another one if it is built earlier.
    """
    optimizer = model.optimizer
    later = optimizer is not None and not optimizer.built
    if later:
        optimizer.built = True
    try:
        model._symbolic_build(data_batch=data)
    finally:
        if later:
            optimizer.built = False
    for tracker in getattr(model._compile_loss, "metrics", []):
        if not hasattr(tracker.update_state, "hpcdl"):
            _weigh_by_samples(tracker, session)


def is_built(model: keras.Model) -> bool:
    """Whether all weights exist."""
    return all(layer.built for layer in model._flatten_layers())


def _weigh_by_samples(tracker: keras.metrics.Metric, session: Session) -> None:
    """Keras counts a batch of unknown size as one in the loss of a single output, however many samples it has."""
    update = tracker.update_state

    def update_state(value: Any, sample_weight: Any = None) -> Any:
        return update(value, sample_weight=sample_weight if session.samples is None else session.samples)

    update_state.hpcdl = True  # type: ignore[attr-defined]
    tracker.update_state = update_state


def compiled(train: Step, hook: Hook) -> Step:
    """Forward and backward pass as one XLA program; the reduction and the update follow outside it."""

    def train_step(data: Any) -> Any:
        variables: list[Any] = []
        places: list[int] = []
        total = 0

        def forward_backward(inputs: Any) -> Any:
            nonlocal total
            with hook.holding() as calls:
                logs = train(inputs)
            if len(calls) != 1:
                raise ConfigError(
                    f"a train_step that applies gradients {len(calls)} times, with jit_compile",
                    "one update a step, after the backward pass",
                    "compile the model with jit_compile=False",
                )
            [(gradients, trained)] = calls
            variables[:] = [] if trained is None else trained
            places[:] = [place for place, each in enumerate(gradients) if each is not None]
            total = len(gradients)
            return logs, [tf.convert_to_tensor(gradients[place]) for place in places]

        logs, present = tf.function(forward_backward, jit_compile=True, autograph=False)(data)
        gradients: list[Any] = [None] * total
        for place, gradient in zip(places, present, strict=True):
            gradients[place] = gradient
        hook.apply(gradients, variables or None)
        return logs

    return train_step


def _counted(step: Step, model: keras.Model, session: Session, data: Any) -> Any:
    first = next(each for each in tf.nest.flatten(data) if each is not None)
    if first.shape[0]:
        return _telling(session, tf.constant(float(first.shape[0])), step, data)
    count = tf.shape(first)[0]
    state = [variable.value for metric in model.metrics for variable in metric.variables]
    before = [tf.identity(value) for value in state]
    logs = _telling(session, tf.cast(count, tf.float32), step, tf.nest.map_structure(_never_empty, data))
    for value, old in zip(state, before, strict=True):
        value.assign(tf.where(count > 0, value, old))
    return logs


def _telling(session: Session, samples: tf.Tensor, step: Step, data: Any) -> Any:
    session.samples = samples
    try:
        return step(data)
    finally:
        session.samples = None


def _never_empty(values: Any) -> Any:
    """The batch, or one sample of zeros for an empty one."""
    if values is None or isinstance(values, tf.RaggedTensor | tf.SparseTensor):
        return values
    tensor = tf.convert_to_tensor(values)
    one = tf.concat([[1], tf.shape(tensor)[1:]], axis=0)
    filled = tf.cond(tf.shape(tensor)[0] > 0, lambda: tensor, lambda: tf.zeros(one, tensor.dtype))
    filled.set_shape([None, *tensor.shape[1:]])
    return filled
