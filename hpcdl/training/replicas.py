"""Whether the ranks' weights are still the same, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import keras
import numpy as np
import tensorflow as tf

from hpcdl.engine.base import Engine
from hpcdl.errors import ReplicaError

SHARE = 0.01
"""Of the time that training takes, at most."""


class ReplicaCheck:
    """Compares a checksum of each weight over the ranks, every so many steps.

    All ranks apply the same sums to the same start, so the same bits must come of it; another
    version of a library, a faulty memory or a callback that changes weights shows here.

    Args:
        engine: the ranks.
        weights: floating variables; others are left out, for a layer may count on its own.
        every: steps between two comparisons; more where one takes longer than 1 % of the steps between.
    """

    def __init__(self, engine: Engine, weights: Sequence[keras.Variable], every: int) -> None:
        self._engine, self._every = engine, every
        self._weights = [weight for weight in weights if tf.as_dtype(weight.dtype).is_floating]
        self._sums = tf.function(lambda: tf.stack([checksum(weight.value) for weight in self._weights]))
        self._next, self._last, self._since = every, 0, perf_counter()

    def step(self, step: int) -> None:
        """Call after each step, counted from 1, on every rank; compares when it is time.

        Raises:
            ReplicaError: the ranks differ; it names the first weight that does.
        """
        if step < self._next:
            return
        began = perf_counter()
        self.compare(step)
        now = perf_counter()
        # The ranks agree on the longest comparison and the shortest step, and so on the next turn.
        took, pace = now - began, (began - self._since) / (step - self._last)
        slowest, fastest = np.array(self._engine.gather_objects((took, -pace))).max(axis=0)
        rarely = int(slowest / SHARE / max(-fastest, 1e-9)) if self._last else 0  # the first one traces
        self._next, self._last, self._since = step + max(self._every, rarely), step, perf_counter()

    def compare(self, step: int) -> None:
        """Compares now.

        Raises:
            ReplicaError: the ranks differ.
        """
        if self._engine.size == 1 or not self._weights:
            return
        own = self._sums().numpy().tolist()
        everyone = self._engine.gather_objects(own)
        for place, weight in enumerate(self._weights):
            others = [rank for rank, sums in enumerate(everyone) if sums[place] != everyone[0][place]]
            if others:
                raise ReplicaError(
                    f"{weight.path} on rank {', '.join(map(str, others))} is not rank 0's, found at step {step}",
                    "the same weights on every rank",
                    "look for a callback or layer that changes weights by itself, and for ranks with other versions; "
                    "start again from the last good weights",
                )


def checksum(value: tf.Tensor) -> tf.Tensor:
    """A number of two 32-bit halves that any changed bit, and nearly any exchange of elements, changes.

    Args:
        value: any shape, floating.

    Returns:
        (2,) int32: the sum of the bits as whole numbers, and the same weighted by odd places, modulo 2^32.
    """
    bits = tf.reshape(tf.bitcast(value, tf.int32 if value.dtype.size >= 4 else tf.int16), [-1])
    whole = tf.cast(bits, tf.int32)
    return tf.stack([tf.reduce_sum(whole), tf.reduce_sum(whole * (2 * tf.range(tf.size(whole)) + 1))])
