"""Keras's optimizers as their papers have them, in NumPy and float64, and a regression to try them on.

A rule is what an optimizer does to one weight; `Training` does it to all of them and adds the options that
every optimizer has. Hyperparameters bear Keras's names, so a case hands the same ones to Keras and to the rule.
Epsilons are large: next to a small one most rules do not notice that gradients were summed and not averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import keras
import numpy as np

SAMPLES, BATCH = 32, 8
Array = np.ndarray[Any, Any]
Gradients = Callable[[list[Array]], list[Array]]
"""Weights to gradients, float64."""
State = dict[str, Any]
Rule = Callable[[Array, Array, State, int], Array]
"""(gradient, weight, what the rule keeps of this weight, number of this update from 1) to the new weight."""


# The problem


def data() -> tuple[Array, Array]:
    """x (32, 6) and y (32, 3), linear but for noise."""
    random = np.random.default_rng(0)
    x = random.standard_normal((SAMPLES, 6))
    y = x @ random.standard_normal((6, 3)) + 0.3 * random.standard_normal((SAMPLES, 3)) + [1.0, -1.0, 0.5]
    return x.astype(np.float32), y.astype(np.float32)


def network() -> keras.Model:
    """A linear layer; its start is the same whatever the seeds are."""
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(3)])
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(-0.6, 0.6, weight.shape) for weight in model.get_weights()])
    return model


def gradients(x: Array, y: Array) -> Gradients:
    """Of the mean squared error over samples and outputs."""
    x, y = x.astype(np.float64), y.astype(np.float64)

    def gradient(weights: list[Array]) -> list[Array]:
        kernel, bias = weights
        slope = 2 * (x @ kernel + bias - y) / y.size
        return [x.T @ slope, slope.sum(0)]

    return gradient


def batch_gradients() -> list[Gradients]:
    """Of each batch of an epoch, in order."""
    x, y = data()
    return [gradients(x[at : at + BATCH], y[at : at + BATCH]) for at in range(0, SAMPLES, BATCH)]


# Rules


def average(state: State, name: str, value: Array, decay: float) -> Array:
    """The exponential moving average of a value, from 0."""
    state[name] = decay * state.get(name, 0.0) + (1 - decay) * value
    return state[name]


def sgd(
    g: Array, w: Array, state: State, t: int, *, learning_rate: float, momentum: float = 0.0, nesterov: bool = False
) -> Array:
    """Sutskever et al. 2013, On the importance of initialization and momentum in deep learning."""
    step = state["step"] = momentum * state.get("step", 0.0) - learning_rate * g
    return w + (momentum * step - learning_rate * g if nesterov else step)


def rmsprop(
    g: Array,
    w: Array,
    state: State,
    t: int,
    *,
    learning_rate: float,
    rho: float,
    epsilon: float,
    momentum: float = 0.0,
    centered: bool = False,
) -> Array:
    """Tieleman and Hinton 2012, lecture 6.5; Graves 2013, arXiv 1308.0850, for `centered`. Epsilon under the root."""
    variance = average(state, "square", g**2, rho)
    if centered:
        variance = variance - average(state, "mean", g, rho) ** 2
    step = state["step"] = momentum * state.get("step", 0.0) + learning_rate * g / np.sqrt(variance + epsilon)
    return w - step


def adam(
    g: Array,
    w: Array,
    state: State,
    t: int,
    *,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    amsgrad: bool = False,
) -> Array:
    """Kingma and Ba 2015, arXiv 1412.6980, with section 2's epsilon hat; Reddi et al. 2018 for `amsgrad`."""
    m = average(state, "m", g, beta_1)
    v = average(state, "v", g**2, beta_2)
    if amsgrad:
        v = state["peak"] = np.maximum(state.get("peak", 0.0), v)
    rate = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    return w - rate * m / (np.sqrt(v) + epsilon)


def adadelta(g: Array, w: Array, state: State, t: int, *, learning_rate: float, rho: float, epsilon: float) -> Array:
    """Zeiler 2012, arXiv 1212.5701; there the learning rate is 1."""
    before = state.get("steps", 0.0)
    step = g * np.sqrt(before + epsilon) / np.sqrt(average(state, "squares", g**2, rho) + epsilon)
    average(state, "steps", step**2, rho)
    return w - learning_rate * step


def adagrad(
    g: Array, w: Array, state: State, t: int, *, learning_rate: float, initial_accumulator_value: float, epsilon: float
) -> Array:
    """Duchi et al. 2011, JMLR 12. Epsilon under the root."""
    total = state["total"] = state.get("total", initial_accumulator_value) + g**2
    return w - learning_rate * g / np.sqrt(total + epsilon)


def adamax(
    g: Array, w: Array, state: State, t: int, *, learning_rate: float, beta_1: float, beta_2: float, epsilon: float
) -> Array:
    """Kingma and Ba 2015, arXiv 1412.6980, section 7.1."""
    u = state["u"] = np.maximum(beta_2 * state.get("u", 0.0), np.abs(g))
    return w - learning_rate / (1 - beta_1**t) * average(state, "m", g, beta_1) / (u + epsilon)


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def adafactor(
    g: Array,
    w: Array,
    state: State,
    t: int,
    *,
    learning_rate: float,
    beta_2_decay: float,
    epsilon_1: float,
    epsilon_2: float,
    clip_threshold: float,
) -> Array:
    """Shazeer and Stern 2018, arXiv 1804.04235, algorithms 4 and 5; the rate falls as in section 9."""
    beta_2 = 1 - t**beta_2_decay
    square = g**2 + epsilon_1
    if g.ndim > 1:
        rows = average(state, "rows", square.mean(1), beta_2)
        v = np.outer(rows, average(state, "columns", square.mean(0), beta_2)) / rows.mean()
    else:
        v = average(state, "v", square, beta_2)
    u = g / np.sqrt(v)
    rate = max(epsilon_2, rms(w)) * min(learning_rate, 1 / np.sqrt(t))
    return w - rate * u / max(1.0, rms(u) / clip_threshold)


def nadam(
    g: Array, w: Array, state: State, t: int, *, learning_rate: float, beta_1: float, beta_2: float, epsilon: float
) -> Array:
    """Dozat 2016, Incorporating Nesterov momentum into Adam; Keras's momenta rise 250 times as fast as his."""
    now, after = (beta_1 * (1 - 0.5 * 0.96**at) for at in (t, t + 1))
    product = state["product"] = state.get("product", 1.0) * now
    m = after * average(state, "m", g, beta_1) / (1 - product * after) + (1 - now) * g / (1 - product)
    v = average(state, "v", g**2, beta_2) / (1 - beta_2**t)
    return w - learning_rate * m / (np.sqrt(v) + epsilon)


def ftrl(
    g: Array,
    w: Array,
    state: State,
    t: int,
    *,
    learning_rate: float,
    learning_rate_power: float,
    initial_accumulator_value: float,
    l1_regularization_strength: float = 0.0,
    l2_regularization_strength: float = 0.0,
    l2_shrinkage_regularization_strength: float = 0.0,
    beta: float = 0.0,
) -> Array:
    """McMahan et al. 2013, Ad click prediction, algorithm 1; in Keras both L2 strengths are of w**2, so double."""
    before = state.get("n", initial_accumulator_value)
    n = state["n"] = before + g**2
    sigma = (n**-learning_rate_power - before**-learning_rate_power) / learning_rate
    z = state["z"] = state.get("z", 0.0) + g + 2 * l2_shrinkage_regularization_strength * w - sigma * w
    curvature = (beta + n**-learning_rate_power) / learning_rate + 2 * l2_regularization_strength
    return np.sign(z) * np.minimum(l1_regularization_strength - np.abs(z), 0) / curvature


def lion(g: Array, w: Array, state: State, t: int, *, learning_rate: float, beta_1: float, beta_2: float) -> Array:
    """Chen et al. 2023, arXiv 2302.06675."""
    step = np.sign(beta_1 * state.get("m", 0.0) + (1 - beta_1) * g)
    average(state, "m", g, beta_2)
    return w - learning_rate * step


def lamb(
    g: Array, w: Array, state: State, t: int, *, learning_rate: float, beta_1: float, beta_2: float, epsilon: float
) -> Array:
    """You et al. 2020, arXiv 1904.00962; a layer is one weight, and none here is 0."""
    m = average(state, "m", g, beta_1) / (1 - beta_1**t)
    v = average(state, "v", g**2, beta_2) / (1 - beta_2**t)
    step = m / (np.sqrt(v) + epsilon)
    return w - learning_rate * np.linalg.norm(w) / np.linalg.norm(step) * step


def muon(
    g: Array, w: Array, state: State, t: int, *, learning_rate: float, momentum: float, nesterov: bool, rms_rate: float
) -> Array:
    """Jordan et al. 2024, Muon; scaled as in Liu et al. 2025, arXiv 2502.16982.

    Newton and Schulz's iteration is an odd polynomial, so it acts on the singular values alone.
    """
    m = state["m"] = momentum * state.get("m", 0.0) + g
    left, values, right = np.linalg.svd(g + momentum * m if nesterov else m, full_matrices=False)
    values = values / (np.linalg.norm(values) + 1e-7)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return w - learning_rate * rms_rate * np.sqrt(max(w.shape)) * (left * values) @ right


def schedule_free_adamw(
    g: Array, w: Array, state: State, t: int, *, learning_rate: float, beta_1: float, beta_2: float, epsilon: float
) -> Array:
    """Defazio et al. 2024, arXiv 2405.15682, but for two faults of Keras on TensorFlow.

    The paper trains y = (1 - beta_1) z + beta_1 x, where x is the mean of all z and z starts at the weights. Keras
    takes x out of y with a z that is updated already, and then beta_1 cancels as if it were 1: y is x. And
    `fit` builds the optimizer while it traces the first step, which loses z's start: it is 0.
    """
    v = average(state, "v", g**2, beta_2) / (1 - beta_2**t)
    z = state["z"] = state.get("z", 0.0) - learning_rate * g / (np.sqrt(v) + epsilon)
    return w + (z - w) / t


def decayed(rule: Rule, amount: float) -> Rule:
    """Loshchilov and Hutter 2019, arXiv 1711.05101: the weight shrinks beside the rule, which sees it shrunk."""
    return lambda g, w, state, t: rule(g, (1 - amount) * w, state, t)


def by_shape(matrix: Rule, other: Rule) -> Rule:
    """One rule for matrices, another for biases."""
    return lambda g, w, state, t: (matrix if w.ndim == 2 else other)(g, w, state, t)


# What all have in common


@dataclass(frozen=True)
class Training:
    """A rule on every weight, step by step, with the options that Keras gives all optimizers."""

    rule: Rule
    clipnorm: float = np.inf
    global_clipnorm: float = np.inf
    clipvalue: float = np.inf
    use_ema: bool = False
    """Polyak and Juditsky 1992: the weights' moving average, from the first update's on, replaces the weights."""
    ema_momentum: float = 0.0
    ema_overwrite_frequency: int = 1
    gradient_accumulation_steps: int = 1

    def __call__(self, start: list[Array], steps: Sequence[Gradients]) -> list[Array]:
        weights = [weight.astype(np.float64) for weight in start]
        states: list[State] = [{} for _ in weights]
        averages = weights
        size = self.gradient_accumulation_steps
        for t in range(1, len(steps) // size + 1):
            micro = [step(weights) for step in steps[(t - 1) * size : t * size]]
            mean = [np.mean(parts, axis=0) for parts in zip(*micro, strict=True)]
            weights = [self.rule(g, w, state, t) for g, w, state in zip(self.clip(mean), weights, states, strict=True)]
            if self.use_ema:
                keep = self.ema_momentum if t > 1 else 0.0
                averages = [keep * old + (1 - keep) * new for old, new in zip(averages, weights, strict=True)]
                weights = averages if t % self.ema_overwrite_frequency == 0 else weights
        return averages if self.use_ema else weights

    def clip(self, gradients: list[Array]) -> list[Array]:
        """Pascanu et al. 2013, arXiv 1211.5063: bounds each gradient's norm, or that of all, or each value."""
        norms = [np.linalg.norm(g) for g in gradients]
        common = min(1.0, self.global_clipnorm / np.linalg.norm(norms))
        scaled = [g * min(common, self.clipnorm / norm) for g, norm in zip(gradients, norms, strict=True)]
        return [np.clip(g, -self.clipvalue, self.clipvalue) for g in scaled]


# Cases


@dataclass(frozen=True)
class Case:
    """An optimizer, and what it must do."""

    make: Callable[[], keras.optimizers.Optimizer]
    formula: Training
    """(start weights, one gradient function a step) to the weights after all steps."""
    tolerance: float = 1e-6
    """How far float32 may be from the formula: some ten roundings of weights near 1."""


SHARED = {"weight_decay"} | {field.name for field in fields(Training)}


def case(optimizer: str, rule: Callable[..., Array], **options: Any) -> Case:
    """The same options for Keras's optimizer and for the formula."""
    own = {name: value for name, value in options.items() if name not in SHARED}
    shared = {name: value for name, value in options.items() if name in SHARED}
    decay = options["learning_rate"] * shared.pop("weight_decay", 0.0)
    formula = Training(decayed(partial(rule, **own), decay), **shared)
    return Case(lambda: getattr(keras.optimizers, optimizer)(**options), formula)


SGD = partial(case, "SGD", sgd, learning_rate=0.2)
ADAM: dict[str, Any] = {"learning_rate": 0.1, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 0.1}
RMSPROP: dict[str, Any] = {"learning_rate": 0.1, "rho": 0.8, "epsilon": 0.1}
FTRL: dict[str, Any] = {"learning_rate": 0.3, "learning_rate_power": -0.5, "initial_accumulator_value": 0.1}
MUON: dict[str, Any] = {"learning_rate": 0.1, "momentum": 0.8, "nesterov": True, "rms_rate": 0.2}
ADAFACTOR: dict[str, Any] = {"beta_2_decay": -0.8, "epsilon_1": 0.1, "epsilon_2": 0.33, "clip_threshold": 0.9}

CASES: dict[str, Case] = {
    "SGD": SGD(),
    "SGD momentum": SGD(momentum=0.9),
    "SGD nesterov": SGD(momentum=0.9, nesterov=True),
    "RMSprop": case("RMSprop", rmsprop, **RMSPROP),
    "RMSprop momentum centered": case("RMSprop", rmsprop, **RMSPROP, momentum=0.9, centered=True),
    "Adam": case("Adam", adam, **ADAM),
    "Adam amsgrad": case("Adam", adam, **ADAM, amsgrad=True),
    "AdamW": case("AdamW", adam, **ADAM, weight_decay=0.3),
    "Adadelta": case("Adadelta", adadelta, learning_rate=1.0, rho=0.8, epsilon=0.1),
    "Adagrad": case("Adagrad", adagrad, learning_rate=0.2, initial_accumulator_value=0.1, epsilon=0.1),
    "Adamax": case("Adamax", adamax, **ADAM),
    "Adafactor": case("Adafactor", adafactor, learning_rate=0.2, **ADAFACTOR),
    # From the third update on 1 / sqrt(t) is the smaller rate.
    "Adafactor falling": case("Adafactor", adafactor, learning_rate=0.6, **ADAFACTOR),
    "Nadam": case("Nadam", nadam, **ADAM),
    "Ftrl": case("Ftrl", ftrl, **FTRL),
    "Ftrl regularized": case(
        "Ftrl",
        ftrl,
        **FTRL,
        l1_regularization_strength=0.3,
        l2_regularization_strength=0.2,
        l2_shrinkage_regularization_strength=0.1,
        beta=0.5,
    ),
    "Lion": case("Lion", lion, learning_rate=0.05, beta_1=0.8, beta_2=0.9),
    "Lamb": case("Lamb", lamb, **ADAM),
    # Adam for biases, as its authors say.
    "Muon": Case(
        lambda: keras.optimizers.Muon(
            **MUON, weight_decay=0.3, adam_beta_1=0.8, adam_beta_2=0.9, epsilon=0.1, adam_weight_decay=0.6
        ),
        Training(by_shape(decayed(partial(muon, **MUON), 0.1 * 0.3), decayed(partial(adam, **ADAM), 0.1 * 0.6))),
    ),
    "ScheduleFreeAdamW": case("ScheduleFreeAdamW", schedule_free_adamw, **ADAM),
    "SGD clipnorm": SGD(clipnorm=0.8),
    "SGD global_clipnorm": SGD(global_clipnorm=2.4),
    "SGD clipvalue": SGD(clipvalue=0.3),
    "Adam weight_decay": case("Adam", adam, **ADAM, weight_decay=0.3),
    "SGD use_ema": SGD(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
    "SGD use_ema, overwritten at the end": SGD(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3),
    "SGD gradient_accumulation_steps": SGD(gradient_accumulation_steps=2),
    "AdamW gradient_accumulation_steps clipnorm": case(
        "AdamW", adam, **ADAM, weight_decay=0.3, gradient_accumulation_steps=2, clipnorm=0.8
    ),
    "SGD loss_scale_factor": Case(
        lambda: keras.optimizers.SGD(0.2, loss_scale_factor=1024.0), Training(partial(sgd, learning_rate=0.2))
    ),
    "LossScaleOptimizer": Case(
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.2, clipnorm=0.8), initial_scale=1024.0),
        Training(partial(sgd, learning_rate=0.2), clipnorm=0.8),
    ),
    "MultiOptimizer": Case(
        lambda: keras.optimizers.MultiOptimizer(
            keras.optimizers.OptimizerMap(keras.optimizers.Adam(**ADAM), {".*/kernel": keras.optimizers.SGD(0.2)})
        ),
        Training(by_shape(partial(sgd, learning_rate=0.2), partial(adam, **ADAM))),
    ),
}
