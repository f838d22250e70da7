"""The formulas that ranks are compared with: plain Keras computes them, and the faults of ranks show in them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from formulas import BATCH, CASES, SAMPLES, Array, Gradients, batch_gradients, data, gradients, network

EXCLUDED = {"Optimizer": "the base of the others has no update of its own"}
SCALE_FREE = {"Lion": "only signs of gradients count"}
START: list[Array] = network().get_weights()

cases = pytest.mark.parametrize("name", CASES)


def distance(one: list[Array], other: list[Array]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def error(name: str, steps: list[Gradients]) -> float:
    """How far other gradients lead the formula astray, in tolerances."""
    case = CASES[name]
    return distance(case.formula(START, batch_gradients()), case.formula(START, steps)) / case.tolerance


def changed(steps: list[Gradients], change: Callable[[Array], Array]) -> list[Gradients]:
    """Gradients that pass through `change`."""

    def through(step: Gradients) -> Gradients:
        return lambda weights: [change(g) for g in step(weights)]

    return [through(step) for step in steps]


def halves() -> list[tuple[Gradients, Gradients]]:
    """The gradients of each batch as two ranks have them, each from its half."""
    parts = [gradients(x, y) for x, y in zip(*(np.split(array, 2 * SAMPLES // BATCH) for array in data()), strict=True)]
    return list(zip(parts[::2], parts[1::2], strict=True))


@cases
def test_keras_computes_the_formula(name: str) -> None:
    model, case = network(), CASES[name]
    model.compile(optimizer=case.make(), loss="mse")
    model.fit(*data(), batch_size=BATCH, shuffle=False, verbose=0)
    for ours, theirs in zip(case.formula(START, batch_gradients()), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=case.tolerance)


@cases
def test_another_order_of_addition_does_not_show(name: str) -> None:
    random = np.random.default_rng(2)
    assert error(name, changed(batch_gradients(), lambda g: g * (1 + 3e-7 * random.standard_normal(g.shape)))) < 1


@cases
def test_a_sum_in_place_of_a_mean_shows(name: str) -> None:
    found = error(name, changed(batch_gradients(), lambda g: 2 * g))
    assert found == 0 if name in SCALE_FREE else found > 10


@cases
def test_a_rank_on_its_own_shows(name: str) -> None:
    assert error(name, [own for own, _ in halves()]) > 10


@pytest.mark.parametrize("name", [name for name in CASES if "clip" in name])
def test_clipping_before_the_average_shows(name: str) -> None:
    clip = CASES[name].formula.clip

    def averaged(one: Gradients, other: Gradients) -> Gradients:
        return lambda w: [(a + b) / 2 for a, b in zip(clip(one(w)), clip(other(w)), strict=True)]

    assert error(name, [averaged(*pair) for pair in halves()]) > 10


def test_every_optimizer_of_keras_has_a_case() -> None:
    def is_optimizer(thing: Any) -> bool:
        return inspect.isclass(thing) and issubclass(thing, keras.optimizers.Optimizer)

    public = {name for name, _ in inspect.getmembers(keras.optimizers, is_optimizer)}
    assert {type(case.make()).__name__ for case in CASES.values()} | EXCLUDED.keys() == public
