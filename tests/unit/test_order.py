"""Who gets which sample: all of them, once, whatever the number of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from hpcdl.data.order import Share, augmentation, layer_seeds, permutation, shares


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("samples", "batch", "micro"), [(250, 32, 8), (64, 32, 32), (33, 32, 8), (7, 16, 4), (1, 4, 1)]
)
def test_the_ranks_share_every_update_in_whole_micro_batches(samples: int, batch: int, micro: int, size: int) -> None:
    of_ranks = [shares(samples, batch, micro, rank, size) for rank in range(size)]
    assert {len(parts) for parts in of_ranks} == {-(-samples // batch)}
    seen = []
    for update, parts in enumerate(zip(*of_ranks, strict=True)):
        places = [place for part in parts for place in range(part.start, part.stop)]
        assert places == list(range(update * batch, min((update + 1) * batch, samples)))
        # a rank's part begins where a micro-batch begins
        assert all((part.start - update * batch) % micro == 0 for part in parts if part.stop > part.start)
        seen += places
    assert seen == list(range(samples))


def test_micro_batches_are_dealt_evenly() -> None:
    sizes = [part.stop - part.start for rank in range(3) for part in shares(32, 32, 8, rank, 3)]
    assert sorted(sizes) == [8, 8, 16]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    order = permutation(100, seed=1, epoch=2)
    assert sorted(order) == list(range(100))
    assert np.array_equal(order, permutation(100, seed=1, epoch=2))
    assert not np.array_equal(order, permutation(100, seed=1, epoch=3))
    assert not np.array_equal(order, permutation(100, seed=2, epoch=2))


def test_augmentation_reaches_every_offset_and_both_sides() -> None:
    offsets, flips = augmentation(2000, seed=0, epoch=0)
    assert offsets.shape == (2000, 2) and flips.shape == (2000,)
    assert set(np.unique(offsets)) == set(range(9))
    assert 0.45 < flips.mean() < 0.55
    again, _ = augmentation(2000, seed=0, epoch=0)
    other, _ = augmentation(2000, seed=0, epoch=1)
    assert np.array_equal(offsets, again) and not np.array_equal(offsets, other)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_random_layers_draw_by_micro_batch_and_not_by_rank(size: int) -> None:
    """The ranks' seeds, one after the other, are those of one rank, and no two micro-batches share one."""
    for update, share in enumerate(shares(90, 32, 8, 0, 1)):
        whole = layer_seeds(2, 5, 1, update, share, share.micros)
        parts = []
        for rank in range(size):
            part = shares(90, 32, 8, rank, size)[update]
            parts.append(layer_seeds(2, 5, 1, update, part, -(-(part.stop - part.start) // 8)))
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert len({tuple(seed) for micro in whole for seed in micro}) == 2 * share.micros
    first, second = (layer_seeds(1, 0, epoch, 0, Share(0, 8), 1) for epoch in (0, 1))
    assert not np.array_equal(first, second)


def test_a_share_knows_its_place_in_the_update() -> None:
    parts = [shares(90, 32, 8, rank, 3)[2] for rank in range(3)]  # 26 images in 4 micro-batches
    assert [(part.first, part.micros) for part in parts] == [(0, 4), (1, 4), (2, 4)]
