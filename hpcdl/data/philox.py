"""Philox4x32-10: random numbers as a pure function of a key and a counter, for whole arrays at once.

Source: Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC11), section 3.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
ROUNDS = 10
LOW = np.uint64(0xFFFFFFFF)
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = 0x9E3779B9, 0xBB67AE85


def philox(counter: tuple[Words | int, Words | int, Words | int, Words | int], key: tuple[int, int]) -> list[Words]:
    """Four random words for each counter.

    Args:
        counter: four words of 32 bits, arrays of one shape or numbers.
        key: two words of 32 bits.

    Returns:
        Four arrays of that shape.
    """
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in np.broadcast_arrays(*counter))
    k0, k1 = key
    for _ in range(ROUNDS):
        left, right = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0 = (right >> np.uint64(32)) ^ c1 ^ np.uint64(k0)
        c2 = (left >> np.uint64(32)) ^ c3 ^ np.uint64(k1)
        c1, c3 = right & LOW, left & LOW
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return [word.astype(np.uint32) for word in (c0, c1, c2, c3)]
