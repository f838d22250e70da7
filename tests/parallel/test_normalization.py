"""Batch normalisation with the statistics of all ranks, against plain Keras on the whole batch in one process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import keras
import normalization_work as work
import numpy as np
import pytest
import tensorflow as tf

WORK = "normalization_work.py"
TOLERANCE = {"float64": 1e-12, "float32": 5e-6, "mixed_float16": 1e-2}
"""Of the largest value."""
Found = list[dict[str, Any]]


@cache
def expected(case: str, size: int) -> dict[str, Any]:
    """What plain Keras finds on each step's whole batch."""
    model = work.network(case)
    found: dict[str, Any] = {}
    for number, counts in enumerate(work.COUNTS):
        parts = [work.samples(case, number, rank, count) for rank, count in enumerate(counts[:size])]
        x, y = (np.concatenate(each) for each in zip(*parts, strict=True))
        outputs, slopes = work.gradients(model, *(tf.cast(values, work.dtype_of(case)) for values in (x, y)))
        cuts = np.cumsum(counts[:size])[:-1]
        found[f"{number} outputs"] = np.split(outputs.numpy(), cuts)
        found |= {f"{number} gradient {place}": slope.numpy() for place, slope in enumerate(slopes)}
    return found | {f"moved {place}": value.numpy() for place, value in enumerate(model.non_trainable_variables)}


def difference(ranks: Found, name: str, case: str) -> dict[str, float]:
    """The largest difference over ranks of outputs, gradients and moving statistics, relative to the largest value."""
    largest = {"outputs": 0.0, "gradient": 0.0, "moved": 0.0}
    whole = expected(case, len(ranks))
    for rank, found in enumerate(ranks):
        keys = [key.removeprefix(f"{name}: ") for key in found if key.startswith(f"{name}: ")]
        assert keys
        for key in keys:
            kind = next(kind for kind in largest if kind in key)
            ours = found[f"{name}: {key}"].astype(np.float64)
            theirs = np.asarray(whole[key][rank] if kind == "outputs" else whole[key], np.float64)
            assert ours.shape == theirs.shape
            if ours.size:
                gap = np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())
                largest[kind] = max(largest[kind], float(gap) if np.isfinite(gap) else np.inf)
    return largest


@pytest.mark.parametrize("case", work.CASES)
def test_ranks_compute_what_plain_keras_computes_on_the_whole_batch(ranks: Found, case: str) -> None:
    """Steps of other numbers of samples a rank, the last two with a rank that has none."""
    tolerance = TOLERANCE[work.CASES[case][1]]
    found = difference(ranks, case, case)
    assert all(gap < tolerance for gap in found.values()), found


def test_without_a_graph_as_with_one(ranks: Found) -> None:
    found = difference(ranks, "eager", "branches in float64")
    assert all(gap < TOLERANCE["float64"] for gap in found.values()), found


def test_fit_gives_what_plain_keras_gives_in_one_process(ranks: Found) -> None:
    """Of 3 ranks, one has no sample of the last batch."""
    model, optimizer, loss, data = work.fitted()
    model.compile(optimizer, loss)
    model.fit(*data, batch_size=6, epochs=2, shuffle=False, verbose=0)
    for found in ranks:
        for place, weight in enumerate(model.get_weights()):
            np.testing.assert_allclose(found[f"fit: {place}"], weight, rtol=1e-11, atol=1e-11)


def test_where_nobody_knows_the_samples_rows_count(ranks: Found) -> None:
    gradients = [key for key in ranks[0] if key.startswith("untold: ") and "gradient" in key]
    whole = expected("branches in float64", len(ranks))
    assert len(gradients) >= 2 * 12
    for key in gradients:
        np.testing.assert_allclose(ranks[0][key], whole[key.removeprefix("untold: ")], rtol=0, atol=1e-12)


def test_gradients_that_are_not_weighted_would_be_noticed(ranks: Found) -> None:
    """The comparison can fail: with ranks that count alike, forward is right and the gradients are not."""
    found = {
        key.removeprefix("alike: "): np.abs(
            ranks[0][key] - expected("branches in float64", len(ranks))[key.removeprefix("alike: ")]
        ).max()
        for key in ranks[0]
        if key.startswith("alike: ") and "gradient" in key and int(key.removeprefix("alike: ")[0]) < 2
    }
    assert (max(found.values()) > 1e-3) == (len(ranks) > 1), found


def test_the_variance_of_samples_far_from_zero(ranks: Found) -> None:
    """Mean / deviation is 1000: sums of x² in float32 would be off by tens of percent."""
    for number, counts in enumerate(work.COUNTS[:2]):
        whole = np.concatenate([work.far(number, rank, counts[rank]) for rank in range(len(ranks))]).astype(np.float64)
        for found in ranks:
            np.testing.assert_allclose(found[f"far: {number} mean"], whole.mean(0), rtol=2e-7)
            np.testing.assert_allclose(found[f"far: {number} variance"], whole.var(0), rtol=1e-6)


def test_all_ranks_have_the_same_moving_statistics(ranks: Found) -> None:
    for found in ranks[1:]:
        for key in found:
            if "moved" in key:
                np.testing.assert_array_equal(found[key], ranks[0][key], err_msg=key)


def test_a_saved_model_loads_in_plain_keras(ranks: Found) -> None:
    loaded = keras.models.load_model(Path(ranks[0]["out"]) / "model.keras")
    x, _ = work.samples("branches", 0, 0, 3)
    np.testing.assert_allclose(loaded(x), work.network("branches")(x), rtol=1e-6)
    assert not any("_moments" in vars(layer) for layer in loaded._flatten_layers())
