"""`fit` at 1, 2, 3 and 4 ranks gives what plain Keras gives in one process, for every kind of model."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from problems import EPOCHS, PROBLEMS, judged, samples
from record import Array, assert_alike, assert_same, weights

WORK = "fit_work.py"
Found = list[dict[str, Any]]


def needed(size: int, parameters: dict[str, Any]) -> bool:
    """Whether a world of so many ranks has what a test judges."""
    return parameters.get("name") in {None, *judged(size)}


@cache
def plain(name: str) -> tuple[list[Array], dict[str, list[float]]]:
    """Weights and history of plain Keras in this process."""
    problem = PROBLEMS[name]
    model = problem.compiled()
    options = {"epochs": EPOCHS, "verbose": 0, **problem.fit}
    x, y, *weight = problem.data()
    history = model.fit(
        x,
        y,
        sample_weight=weight[0] if weight else None,
        batch_size=problem.batch,
        shuffle=False,
        validation_data=problem.validation,
        validation_batch_size=8,
        **options,
    ).history
    return model.get_weights(), history


@pytest.mark.parametrize("name", PROBLEMS)
def test_weights_and_logs_are_those_of_one_process(ranks: Found, name: str) -> None:
    """50 samples in batches of 16 leave 2 for the last, fewer than 4 ranks; the metrics count each once."""
    expected, history = plain(name)
    tolerance = PROBLEMS[name].tolerance
    for found in ranks:
        assert_same(weights(found, name), expected, atol=tolerance)
        assert {f"{name}: history {key}" for key in history} == {
            key for key in found if key.startswith(f"{name}: history")
        }
        for key, values in history.items():
            if key in PROBLEMS[name].inexact:
                continue
            np.testing.assert_allclose(found[f"{name}: history {key}"], values, rtol=10 * tolerance, atol=tolerance)


def test_losses_of_single_outputs_add_up(ranks: Found) -> None:
    """Keras alone, and so one rank, averages them over batches, where ours are over samples."""
    for found in ranks[: 0 if len(ranks) == 1 else None]:
        for prefix in ("", "val_"):
            whole, *parts = (found[f"functional: history {prefix}{name}"] for name in ("loss", "sum_loss", "sign_loss"))
            np.testing.assert_allclose(sum(parts), whole, rtol=1e-5)


@pytest.mark.parametrize("name", PROBLEMS)
def test_all_ranks_end_with_the_same_bits(ranks: Found, name: str) -> None:
    assert_alike(ranks, name)


def test_ranks_that_do_not_reduce_would_be_noticed(ranks: Found) -> None:
    """The comparison above can fail: without the reduction the weights are others."""
    together, apart = (weights(ranks[-1], work) for work in ("even", "apart"))
    same = all(np.allclose(one, other, rtol=0, atol=2e-6) for one, other in zip(together, apart, strict=True))
    assert same == (len(ranks) == 1)


def test_a_saved_model_loads_in_plain_keras_and_trains_on(ranks: Found) -> None:
    """With its optimizer's state: the next epoch is that of a model that never left one process."""
    model = keras.models.load_model(ranks[0]["out"] / "fitted.keras")
    assert_same(weights(ranks[0], "sequential"), model.get_weights(), atol=0)
    assert type(model.optimizer) is keras.optimizers.SGD
    assert int(model.optimizer.iterations.numpy()) == EPOCHS * 4
    stayed = PROBLEMS["sequential"].compiled()
    for epochs, each in ((EPOCHS, stayed), (1, stayed), (1, model)):
        each.fit(*samples(), batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    assert_same(model.get_weights(), stayed.get_weights(), atol=4e-6)
