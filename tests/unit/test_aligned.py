"""Arrays that TensorFlow takes over without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from hpcdl.engine.aligned import aligned


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5), (1000, 1000)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_an_array_becomes_a_tensor_where_it_lies(shape: tuple[int, ...], dtype: str) -> None:
    given: list[Any] = []

    def give() -> Any:
        given.append(aligned(shape, dtype))
        given[0][...] = 1
        return given[0]

    tensor = tf.function(lambda: tf.numpy_function(give, [], tf.as_dtype(dtype)))()
    assert tensor.shape == shape and tensor.dtype == dtype
    given[0][...] = 7  # what was copied would stay 1
    np.testing.assert_array_equal(tensor, np.full(shape, 7, dtype))
