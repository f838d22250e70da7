"""Which tensors share a buffer."""

from __future__ import annotations

from hpcdl.engine.fuse import buckets


def test_buckets_follow_the_backward_pass_and_hold_one_dtype() -> None:
    sizes = [("float32", 60), ("float32", 50), ("int64", 8), ("float32", 10), ("float32", 100)]
    assert list(buckets(sizes, 100)) == [[4], [3, 1, 0], [2]]
    assert list(buckets(sizes, 1)) == [[4], [3], [1], [0], [2]]
    assert list(buckets(sizes, 10**6)) == [[4, 3, 1, 0], [2]]
    assert list(buckets([], 10)) == []


def test_large_ones_go_alone() -> None:
    sizes = [("float32", 60), ("float32", 10), ("float32", 50), ("float32", 20)]
    assert list(buckets(sizes, 100, alone=50)) == [[2], [0], [3, 1]]
