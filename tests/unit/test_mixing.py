"""Mixing of pairs against loops in NumPy, and its shares against the Beta distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from hpcdl.data import mixing
from hpcdl.data.augment import DRAWS

Array = npt.NDArray[np.floating]
MIX = {"mixup": mixing.mixup, "cutmix": mixing.cutmix}


def samples(count: int, channels: int = 3, classes: int = 5, draws: int = 3) -> tuple[Array, Array, Array]:
    """Images of 12 x 9 pixels, one-hot labels, and draws."""
    random = np.random.default_rng(count)
    images = random.integers(0, 256, (count, 12, 9, channels)).astype(np.float32)
    labels = np.eye(classes, dtype=np.float32)[random.integers(0, classes, count)]
    return images, labels, random.random((count, draws), np.float32)


def reverse(count: int, micro_batch: int) -> list[int]:
    """Each micro-batch backwards."""
    places = list(range(count))
    return [place for start in range(0, count, micro_batch) for place in places[start : start + micro_batch][::-1]]


@pytest.mark.parametrize("count, micro_batch", [(8, 4), (10, 4), (7, 7), (5, 64), (1, 8), (9, 1), (0, 4)])
def test_partners(count: int, micro_batch: int) -> None:
    assert mixing.partners(tf.constant(count), micro_batch).numpy().tolist() == reverse(count, micro_batch)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 2.0, 8.0])
def test_shares_have_the_moments_of_beta(alpha: float) -> None:
    """E[x ** k] of Beta(a, a) is the product over r < k of (a + r) / (2 a + r)."""
    draws = (np.arange(200_000, dtype=np.float32) + 0.5) / 200_000
    shares = mixing.beta(tf.constant(draws), alpha).numpy().astype(np.float64)
    moment = 1.0
    for power in range(1, 7):
        moment *= (alpha + power - 1) / (2 * alpha + power - 1)
        assert (shares**power).mean() == pytest.approx(moment, abs=1e-4 if alpha > 1 else 1e-6)
    assert shares.min() >= 0 and shares.max() <= 1 and (np.diff(shares) >= 0).all()


@pytest.mark.parametrize(
    "alpha, distribution",
    [
        (0.5, lambda x: 2 / np.pi * np.arcsin(np.sqrt(x))),
        (1.0, lambda x: x),
        (2.0, lambda x: 3 * x**2 - 2 * x**3),
        (3.0, lambda x: 10 * x**3 - 15 * x**4 + 6 * x**5),
    ],
)
def test_quantiles_invert_known_distributions(alpha: float, distribution: Callable[[Array], Array]) -> None:
    np.testing.assert_allclose(
        distribution(mixing.beta_quantiles(alpha)), np.linspace(0, 1, mixing.CELLS + 1), atol=1e-9
    )


@pytest.mark.parametrize("kind", ["float32", "uint8"])
@pytest.mark.parametrize("micro_batch", [1, 4, 6, 100])
def test_mixup_is_a_loop_in_numpy(micro_batch: int, kind: str) -> None:
    images, labels, draws = samples(10, draws=1)
    # Beta(1, 1) is uniform: the share is the draw itself.
    found, found_labels = mixing.mixup(tf.constant(images, kind), labels, tf.constant(draws), micro_batch, alpha=1.0)
    for place, other in enumerate(reverse(10, micro_batch)):
        share = draws[place, 0]
        expected = share * images[place] + (1 - share) * images[other]
        tolerance = 0.501 if kind == "uint8" else 1e-3
        np.testing.assert_allclose(found[place].numpy().astype(float), expected, atol=tolerance)
        np.testing.assert_allclose(found_labels[place], share * labels[place] + (1 - share) * labels[other], atol=1e-6)
    assert found.dtype == kind and found_labels.dtype == tf.float32


def test_mixup_alone_uses_beta_of_a_fifth() -> None:
    """The variance of Beta(a, a) is 1 / (8 a + 4); the first half's shares are read off its labels."""
    draws = (np.arange(20_000, dtype=np.float32) + 0.5)[:, np.newaxis] / 10_000 % 1
    images = np.repeat(np.array([255, 0], np.float32), 10_000).reshape(-1, 1, 1, 1)
    labels = np.repeat(np.eye(2, dtype=np.float32), 10_000, axis=0)
    mixed, found = mixing.mixup(tf.constant(images), labels, tf.constant(draws), 20_000)
    shares = found.numpy()[:10_000, 0]
    assert shares.mean() == pytest.approx(0.5, abs=1e-5) and shares.var() == pytest.approx(1 / 5.6, abs=1e-5)
    np.testing.assert_allclose(mixed.numpy()[:10_000, 0, 0, 0], 255 * shares, rtol=1e-6)


@pytest.mark.parametrize("kind", ["float32", "uint8"])
@pytest.mark.parametrize("micro_batch", [1, 4, 6, 100])
def test_cutmix_is_a_loop_in_numpy(micro_batch: int, kind: str) -> None:
    images, labels, draws = samples(40)
    found, found_labels = mixing.cutmix(tf.constant(images, kind), labels, tf.constant(draws), micro_batch)
    height, width = images.shape[1:3]
    clipped = 0
    for place, other in enumerate(reverse(40, micro_batch)):
        kept, row, column = draws[place]
        high, wide = (int(np.sqrt(np.float32(1) - kept) * np.float32(side)) // 2 for side in (height, width))
        row, column = int(row * height), int(column * width)
        top, bottom = max(row - high, 0), min(row + high, height)
        left, right = max(column - wide, 0), min(column + wide, width)
        expected = images[place].copy()
        expected[top:bottom, left:right] = images[other, top:bottom, left:right]
        np.testing.assert_array_equal(found[place].numpy(), expected)
        area = (bottom - top) * (right - left) / (height * width)
        clipped += area < 4 * high * wide / (height * width)
        np.testing.assert_allclose(found_labels[place], (1 - area) * labels[place] + area * labels[other], atol=1e-6)
    assert clipped > 5 and found.dtype == kind


@pytest.mark.parametrize("name", MIX)
def test_micro_batches_do_not_see_each_other(name: str) -> None:
    """So the ranks' number changes nothing: two micro-batches and a ragged third are what each is alone."""
    images, labels, draws = samples(11, draws=DRAWS[name])
    together = MIX[name](images, labels, tf.constant(draws), 4)
    alone = [
        MIX[name](images[at : at + 4], labels[at : at + 4], tf.constant(draws[at : at + 4]), 4) for at in (0, 4, 8)
    ]
    for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("name", MIX)
@pytest.mark.parametrize("channels", [1, 3])
def test_labels_stay_distributions(name: str, channels: int) -> None:
    images, labels, draws = samples(64, channels, draws=DRAWS[name])
    smooth = 0.9 * labels + 0.1 / labels.shape[1]
    mixed, found = MIX[name](images, smooth.astype(np.float32), tf.constant(draws), 16)
    np.testing.assert_allclose(tf.reduce_sum(found, axis=1), 1, atol=1e-6)
    assert mixed.shape == images.shape and found.numpy().min() >= 0
    assert (np.abs(found - smooth).max(axis=1) > 1e-3).sum() > 10


@pytest.mark.parametrize("name", MIX)
def test_it_runs_in_a_pipeline_of_unknown_batch_size(name: str) -> None:
    images, labels, draws = samples(10, draws=DRAWS[name])
    mix = MIX[name]
    batches = tf.data.Dataset.from_tensor_slices((images, labels, draws)).batch(8).map(lambda *all: mix(*all, 4))
    assert batches.element_spec[0].shape.as_list() == [None, 12, 9, 3]
    assert batches.element_spec[1].shape.as_list() == [None, 5]
    found = [np.concatenate(parts) for parts in zip(*batches.as_numpy_iterator(), strict=True)]
    for piece, expected in zip(found, mix(images, labels, tf.constant(draws), 4), strict=True):
        np.testing.assert_array_equal(piece, expected)
    nothing, none = mix(images[:0], labels[:0], tf.constant(draws[:0]), 4)
    assert nothing.shape == (0, 12, 9, 3) and none.shape == (0, 5)
