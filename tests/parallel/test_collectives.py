"""Collectives against their formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

WORK = "collectives_work.py"
Found = list[dict[str, Any]]


def test_each_rank_knows_its_place(ranks: Found) -> None:
    size = len(ranks)
    for rank, found in enumerate(ranks):
        assert found["place: world"].tolist() == [rank, size, rank, 0, 1, True, True]


def test_arrays(ranks: Found) -> None:
    size = len(ranks)
    everyone = size * (size + 1) / 2
    for found in ranks:
        for name in ("float16", "float32", "float64", "int32", "int64", "uint8", "bfloat16"):
            np.testing.assert_array_equal(found[f"arrays: sum {name}"], [everyone, 0, 2 * everyone])
            np.testing.assert_array_equal(found[f"arrays: broadcast {name}"], [size, 0, 2 * size])
        np.testing.assert_array_equal(found["arrays: sum bool"], [1, 0, 1])
        assert found["arrays: scalar"] == size - 1
        assert found["arrays: gathered"].tolist() == list(range(size))
        np.testing.assert_allclose(found["arrays: mean of booleans"], [1, 0])
        np.testing.assert_allclose(found["arrays: mean of bytes"], [200])
        np.testing.assert_allclose(found["arrays: sum of bytes"], [200 * size])
        np.testing.assert_allclose(found["arrays: mean"], [1, (size - 1) / 2])
        np.testing.assert_allclose(found["arrays: mean of integers"], [(size - 1) / 2, 1])


@pytest.mark.parametrize("work", ["one buffer", "small buffers"])
def test_tensors_of_all_shapes_and_dtypes(ranks: Found, work: str) -> None:
    size = len(ranks)
    everyone = size * (size + 1) / 2
    for found in ranks:
        sums = [found[f"{work}: {place}"] for place in range(7)]
        np.testing.assert_array_equal(sums[0], np.full((2, 3), everyone))
        np.testing.assert_array_equal(sums[1], [size, 2 * size])
        assert sums[2].shape == () and sums[2] == size
        np.testing.assert_array_equal(sums[3], np.full((1, 4), 2 * everyone))
        assert sums[4].shape == (0,)
        np.testing.assert_array_equal(sums[5], [size, size])
        np.testing.assert_array_equal(sums[6], np.arange(9) * everyone)
        np.testing.assert_array_equal(found[f"{work}: eager 0"], [size, size])
        np.testing.assert_array_equal(found[f"{work}: eager 1"], [size])


def test_a_rank_that_adds_nothing_takes_part_every_time(ranks: Found) -> None:
    size = len(ranks)
    others = np.array([size * (size + 1) / 2 - 1, size - 1])
    for found in ranks:
        for call in range(3):
            np.testing.assert_array_equal(found[f"idle: {call}"], others * 2**call)


def test_large_sums_are_whole_however_ranks_lie_on_nodes(ranks: Found, world: Path) -> None:
    names = ["engine"] + ["2 on a node", "3 on a node"] * world.name.startswith("mpi")
    for found in ranks:
        assert [found[f"large: {name}"] for name in names] == [0] * len(names)


@pytest.mark.parametrize(("wire", "unit"), [("float16", 2.0**-11), ("bfloat16", 2.0**-8)])
def test_16_bits_round_each_summand_and_the_sum_once(ranks: Found, wire: str, unit: float) -> None:
    own = np.stack([found[f"{wire}: own"] for found in ranks]).astype(np.float64)
    bound = unit * (np.abs(own).sum(0) * (1 + unit) + np.abs(own.sum(0))) + 1e-7
    for found in ranks:
        error = np.abs(found[f"{wire}: sum"] - own.sum(0))
        assert (error <= bound).all()
        assert (error.max() > 1e-6) == (len(ranks) > 1)  # it did travel in 16 bits
        np.testing.assert_array_equal(found[f"{wire}: sum"], ranks[0][f"{wire}: sum"])
        assert found[f"{wire}: count"] == len(ranks) * (len(ranks) + 1) / 2
