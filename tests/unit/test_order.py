"""Who gets which sample: all of them, once, whatever the number of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from hpcdl.data.order import Share, draws, hold_out, layer_seeds, order, permutation, shares


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
    first = permutation(100, seed=1, epoch=2)
    assert np.array_equal(first, permutation(100, seed=1, epoch=2))
    assert not np.array_equal(first, permutation(100, seed=1, epoch=3))
    assert not np.array_equal(first, permutation(100, seed=2, epoch=2))


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 10, 97, 1000, 4096])
def test_an_epoch_holds_each_sample_once(samples: int) -> None:
    assert sorted(permutation(samples, seed=4, epoch=7)) == list(range(samples))


def test_any_place_of_a_large_set_is_found_without_the_others() -> None:
    places = np.array([0, 1, 700_000, 1_281_166])
    whole = permutation(1_281_167, seed=0, epoch=1)
    np.testing.assert_array_equal(order(places, 1_281_167, seed=0, epoch=1), whole[places])
    assert len(np.unique(whole)) == len(whole)


@pytest.mark.parametrize("samples", [2, 3, 5, 7, 30])
def test_every_sample_comes_to_every_place_alike_often(samples: int) -> None:
    """Chi-square over 2,000 orders: (samples - 1)^2 degrees of freedom, at most 5 deviations above their mean."""
    orders = np.stack([permutation(samples, seed, epoch) for seed in range(100) for epoch in range(20)])
    counts = np.stack([np.bincount(orders[:, place], minlength=samples) for place in range(samples)])
    freedom = (samples - 1) ** 2
    chi = ((counts - 2000 / samples) ** 2 / (2000 / samples)).sum()
    assert chi < freedom + 5 * np.sqrt(2 * freedom)


def test_neighbours_in_the_set_do_not_stay_neighbours() -> None:
    found = permutation(10_000, seed=0, epoch=0)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(found, np.arange(10_000))[0, 1]) < 0.05


def test_random_numbers_belong_to_the_sample() -> None:
    samples = np.array([5, 70_000, 3])
    numbers = draws(samples, 6, seed=1, epoch=2)
    assert numbers.shape == (3, 6) and numbers.dtype == np.float32
    np.testing.assert_array_equal(draws(samples[::-1], 6, seed=1, epoch=2), numbers[::-1])
    for other in (draws(samples, 6, seed=1, epoch=3), draws(samples, 6, seed=2, epoch=2), draws(samples + 1, 6, 1, 2)):
        assert not np.any(other == numbers)
    assert draws(samples, 0, seed=1, epoch=2).shape == (3, 0)


def test_random_numbers_are_uniform_and_unrelated() -> None:
    numbers = draws(np.arange(20_000), 5, seed=0, epoch=0)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.stack([np.histogram(column, 10, (0, 1))[0] for column in numbers.T])
    assert ((counts - 2000) ** 2 / 2000).sum() < 45 + 5 * np.sqrt(90)
    assert np.abs(np.corrcoef(numbers.T) - np.eye(5)).max() < 0.04


@pytest.mark.parametrize(("samples", "share"), [(100, 0.1), (60_000, 0.05), (7, 0.3), (10, 0.0), (3, 0.9)])
def test_what_is_held_out_is_spread_over_the_set(samples: int, share: float) -> None:
    kept, held_out = hold_out(samples, share)
    assert sorted([*kept, *held_out]) == list(range(samples))
    assert len(held_out) == round(samples * share)
    if len(held_out) > 1:
        assert np.ptp(np.diff(held_out)) <= 1


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
