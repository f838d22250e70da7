"""Shards, loops of a user's own, callbacks and evaluation behave as in one process; mistakes are told on every rank."""

from __future__ import annotations

import csv
import importlib.util
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from problems import EPOCHS, PROBLEMS, SAMPLES, samples, sequential
from record import Array, assert_alike, assert_same, weights

WORK = "api_work.py"
Found = list[dict[str, Any]]


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_every_sample_is_seen_once_an_epoch_with_the_weight_of_one(ranks: Found, kind: str) -> None:
    size = len(ranks)
    orders = []
    for epoch in range(2):
        key = f"seen: {kind} {epoch}"
        splits = [np.cumsum(found[f"{key} batches"])[:-1] for found in ranks]
        places = [np.split(found[f"{key} places"], at) for found, at in zip(ranks, splits, strict=True)]
        share = [np.split(found[f"{key} weights"], at) for found, at in zip(ranks, splits, strict=True)]
        order: list[int] = []
        for batch in range(4):
            count = 16 if batch < 3 else 2
            # mean over a rank's part, times its weight, averaged over ranks: every real sample has 1 / count
            influence = np.zeros(SAMPLES)
            for rank in range(size):
                for place, weight in zip(places[rank][batch], share[rank][batch], strict=True):
                    influence[place] += weight / len(places[rank][batch]) / size
                    order += [int(place)] if weight else []
            np.testing.assert_allclose(influence[influence > 0], 1 / count, rtol=1e-6)
            assert (influence > 0).sum() == count
        assert sorted(order) == list(range(SAMPLES))
        orders.append(order)
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


@pytest.mark.parametrize("kind", ["bare arrays", "bare dataset"])
def test_without_weights_no_sample_comes_twice(ranks: Found, kind: str) -> None:
    assert sorted(np.concatenate([found[f"seen: {kind}"] for found in ranks])) == list(range(SAMPLES))


@cache
def plain(name: str) -> list[Array]:
    """Weights of plain Keras in this process."""
    problem = PROBLEMS[name]
    model = problem.compiled()
    model.fit(*problem.data(), batch_size=problem.batch, epochs=EPOCHS, shuffle=False, verbose=0)
    weights: list[Array] = model.get_weights()
    return weights


def test_a_loop_of_ones_own(ranks: Found) -> None:
    for found in ranks:
        assert_same(weights(found, "own loop"), plain("sequential"), atol=2e-6)
        assert_same(weights(found, "own batches"), plain("even"), atol=2e-6)
        assert ("hpcdl.broadcast(model)" in str(found["own batches: before"])) == (len(ranks) > 1)


@pytest.mark.parametrize("work", ["overflow", "overflow, accumulated"])
def test_an_overflow_on_one_rank_skips_the_step_on_all(ranks: Found, work: str) -> None:
    for found in ranks:
        assert not found[f"{work}: skipped"].any()
        assert found[f"{work}: taken"].any()
        assert found[f"{work}: scale skipped"] == 2**14  # Keras starts at 2**15 and halves
        assert found[f"{work}: scale taken"] == ranks[0][f"{work}: scale taken"]
    assert_alike(ranks, work)


def test_decisions_are_alike_on_all_ranks(ranks: Found) -> None:
    first = ranks[0]
    assert len(first["deciding: stop loss"]) < 12
    assert first["deciding: plateau rate"] < 0.5
    assert len(first["deciding: own loss"]) == 9
    for found in ranks[1:]:
        for name in (key for key in first if key.startswith("deciding")):
            np.testing.assert_array_equal(found[name], first[name])


def test_files_are_written_once_and_hold_all_ranks_samples(ranks: Found) -> None:
    folder = ranks[0]["out"] / "written"
    model = sequential()
    model.compile(optimizer=PROBLEMS["sequential"].optimizer(), loss="mse", metrics=["mae"])
    keras.utils.set_random_seed(0)
    x, y = samples()
    with (folder / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["epoch"] for line in lines] == ["0", "1", "2"]
    np.testing.assert_allclose([float(line["loss"]) for line in lines], ranks[0]["writing: loss"], rtol=1e-6)
    best = keras.models.load_model(folder / "best.keras")
    np.testing.assert_allclose(best.evaluate(x, y, verbose=0)[0], min(float(line["val_loss"]) for line in lines), 1e-5)
    if importlib.util.find_spec("tensorboard"):
        assert len(list((folder / "board").glob("train/events.*.v2"))) == 1
    assert not list((folder / "backup").glob("*.tmp"))
    assert_alike(ranks, "writing")


def test_evaluate_and_predict_give_the_answer_of_one_process(ranks: Found) -> None:
    problem = PROBLEMS["functional"]
    model, (x, y) = problem.compiled(), problem.data()
    score = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    outputs = model.predict(x, batch_size=16, verbose=0)
    alone = PROBLEMS["sequential"].compiled().predict(samples()[0], verbose=0)
    for found in ranks:
        for name in set(score) - set(problem.inexact):
            np.testing.assert_allclose(found[f"answering: evaluate {name}"], score[name], rtol=1e-5)
        for name, rows in outputs.items():
            for kind in ("arrays", "dataset"):
                np.testing.assert_allclose(found[f"answering: predict {kind} {name}"], rows, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found[f"answering: predict few {name}"], rows[:2], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["answering: predict one"], alone, rtol=1e-5, atol=1e-6)


TOLD = {
    "not distributed": "hpcdl.distribute(optimizer)",
    "a model": "model.compile(optimizer=hpcdl.distribute(optimizer)",
    "no optimizer": "builtins.str",
    "twice": "remove the second",
    "compression": "'fp16' or 'bf16'",
    "check_every": "positive number",
    "not built": "model(x[:1])",
    "lengths": "[7, 50]",
    "empty": "at least 1",
    "numbers": "np.asarray",
    "weights of triples": "(x, y) with weights=True",
}
TOLD_TO_MANY = {
    "another model": "(6, 5) float32 on rank 0, (6, 6) float32 on rank {last}",
    "another optimizer": "the same on every rank",
    "one not distributed": "True on rank 0, False on rank {last}",
    "another length": "50 on rank 0, 49 on rank {last}",
    "another batch": "16 on rank 0, 17 on rank {last}",
    "too small": "at least one sample a rank",
    "own loop": "weights=True",
    "diverged": "bias on rank {last} is not rank 0's, found at step 2",
    "diverged at the end": "bias on rank {last} is not rank 0's, found at step 4",
}


@pytest.mark.parametrize("mistake", [*TOLD, *TOLD_TO_MANY])
def test_a_mistake_is_told_on_every_rank_at_once(ranks: Found, mistake: str) -> None:
    if mistake in TOLD_TO_MANY and len(ranks) == 1:
        return
    last = len(ranks) - 1
    for found in ranks:
        said = str(found[f"refusals: {mistake}"])
        assert {**TOLD, **TOLD_TO_MANY}[mistake].format(last=last) in said, said
        assert "fix:" in said


def test_horovods_own_wrapper_is_refused(ranks: Found) -> None:
    for found in ranks:
        if "refusals: horovod" in found:
            assert "reduces nothing under Keras 3" in str(found["refusals: horovod"])
