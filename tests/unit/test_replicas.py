"""A checksum that any changed bit shows."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hpcdl.training.predict import in_order
from hpcdl.training.replicas import checksum


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_a_changed_bit_or_two_exchanged_elements_show(dtype: str) -> None:
    values = np.random.default_rng(0).standard_normal((7, 5)).astype(tf.as_dtype(dtype).as_numpy_dtype)
    expected = checksum(tf.constant(values)).numpy()
    np.testing.assert_array_equal(checksum(tf.constant(values)).numpy(), expected)
    for place in range(values.size):
        other = values.copy()
        bits = other.reshape(-1).view(f"uint{8 * values.itemsize}")
        bits[place] ^= 1
        assert not np.array_equal(checksum(tf.constant(other)).numpy(), expected)
    swapped = values.copy()
    swapped[0, 0], swapped[3, 2] = values[3, 2], values[0, 0]
    assert not np.array_equal(checksum(tf.constant(swapped)).numpy(), expected)


def test_minus_zero_is_not_zero() -> None:
    assert not np.array_equal(checksum(tf.constant([-0.0])).numpy(), checksum(tf.constant([0.0])).numpy())


@pytest.mark.parametrize(("samples", "size"), [(50, 4), (16, 3), (2, 4), (33, 2)])
def test_rows_of_all_ranks_come_in_the_order_of_the_samples(samples: int, size: int) -> None:
    parts: list[list[int]] = [[] for _ in range(size)]
    for begin in range(0, samples, 16):
        batch = list(range(begin, min(begin + 16, samples)))
        for rank in range(size):
            parts[rank] += batch[len(batch) * rank // size : len(batch) * (rank + 1) // size]
    rows = in_order([np.array(part, int) for part in parts], 16)
    assert rows.tolist() == list(range(samples))
