"""Each optimizer of Keras, distributed, against its formula in NumPy on averaged gradients."""

from __future__ import annotations

from typing import Any

import formulas
import pytest
from record import assert_alike, assert_same, weights

WORK = "optimizers_work.py"


def needed(size: int, parameters: dict[str, Any]) -> bool:
    """An optimizer knows nothing of ranks; what it is handed, test_fit.py judges at every size."""
    return size == 2


@pytest.mark.parametrize("name", formulas.CASES)
def test_the_formula_holds_for_the_whole_batch(ranks: list[dict[str, Any]], name: str) -> None:
    """test_formulas.py shows that sums for means, clipping before the average and lone ranks would be seen."""
    case = formulas.CASES[name]
    expected = case.formula(formulas.network().get_weights(), formulas.batch_gradients())
    assert_same(weights(ranks[0], name), expected, atol=case.tolerance)
    assert_alike(ranks, name)
