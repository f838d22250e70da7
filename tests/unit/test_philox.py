"""Philox against the test vectors of its authors and against TensorFlow's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hpcdl.data.philox import philox

# Random123's known answers for philox4x32-10: counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_known_answers(counter: str, key: str, result: str) -> None:
    first, second = words(key)
    assert [int(word) for word in philox(tuple(words(counter)), (first, second))] == words(result)


def test_arrays_are_what_tensorflow_draws() -> None:
    counters = np.arange(100, dtype=np.uint32)
    ours = np.stack(philox((counters, 0, 7, 0), (3, 9)), axis=1)
    theirs = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[400], key=[3 + (9 << 32)], counter=[0, 7], alg=1, dtype=tf.uint32
    )
    np.testing.assert_array_equal(ours.reshape(-1), theirs.numpy())
