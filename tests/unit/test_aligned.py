"""Arrays that TensorFlow takes over without a copy, in memory that is used again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from hpcdl.engine.aligned import Arrays

MIB = 2**20


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5), (1000, 1000)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_an_array_becomes_a_tensor_where_it_lies(shape: tuple[int, ...], dtype: str) -> None:
    given: list[Any] = []

    def give() -> Any:
        given.append(Arrays().take(shape, dtype))
        given[0][...] = 1
        return given[0]

    tensor = tf.function(lambda: tf.numpy_function(give, [], tf.as_dtype(dtype)))()
    assert tensor.shape == shape and tensor.dtype == dtype
    given[0][...] = 7  # what was copied would stay 1
    np.testing.assert_array_equal(tensor, np.full(shape, 7, dtype))


def test_memory_is_used_again_when_nobody_holds_a_part_of_it() -> None:
    arrays = Arrays()
    array = arrays.take((2, MIB), np.float32)
    place = array.ctypes.data
    part = array.reshape(-1)[5:][1:3]
    del array
    assert arrays.take((2 * MIB,), np.float32).ctypes.data != place
    del part
    # Two are free now, of which either may come.
    assert place in {arrays.take((MIB, 2), np.float32).ctypes.data for _ in range(2)}


def test_a_tensor_keeps_the_memory_of_its_array() -> None:
    arrays = Arrays()

    def give(value: Any) -> Any:
        array = arrays.take((MIB,), np.float32)
        array[:] = value
        return array

    calls = tf.function(lambda value: tf.numpy_function(give, [value], tf.float32))
    kept, seen = [], set()
    for number in range(20):
        tensor = calls(tf.constant(float(number)))
        seen.add(tensor.numpy().ctypes.data)
        if number % 5 == 0:
            kept.append((number, tensor))
    for number, tensor in kept:
        np.testing.assert_array_equal(tensor, np.full(MIB, number, np.float32))
    assert len(seen) <= len(kept) + 3  # of what is let go, TensorFlow may hold one or two a little longer


def test_no_more_is_kept_than_was_out_at_once() -> None:
    arrays = Arrays()
    for length in range(1, 30):
        arrays.take((length,), np.uint8)
    assert sum(map(len, arrays._free)) <= 30
