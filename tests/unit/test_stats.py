"""Statistics against values worked out by hand and against coverage on data whose median is known."""

from __future__ import annotations

import numpy as np
import pytest

from hpcdl.analysis import stats
from hpcdl.errors import RecordError


def test_median_and_percentile_by_hand() -> None:
    assert stats.median([3.0, 1.0, 2.0]) == 2.0
    assert stats.median([4.0, 1.0, 3.0, 2.0]) == 2.5
    assert stats.percentile([10.0, 20.0, 30.0, 40.0, 50.0], 95.0) == pytest.approx(48.0)
    assert stats.percentile([7.0], 95.0) == 7.0


def test_harmonic_mean_is_total_work_over_total_time() -> None:
    # 60 km at 20 km/h and 60 km at 60 km/h: 120 km in 4 h.
    assert stats.harmonic_mean([20.0, 60.0]) == pytest.approx(30.0)


def test_up_to_five_samples_the_interval_is_their_range() -> None:
    # Three of five picks are the smallest in 5.8 % of resamples, more than the 2.5 % cut off.
    for samples in ([1.0, 2.0], [5.0, 1.0, 3.0], [4.0, 1.0, 2.0, 8.0], [5.0, 1.0, 3.0, 2.0, 9.0]):
        interval = stats.median_interval(samples)
        assert (interval.low, interval.high) == (min(samples), max(samples))
        assert interval.samples == samples


def test_one_sample_has_no_width() -> None:
    interval = stats.median_interval([412.0])
    assert (interval.low, interval.median, interval.high) == (412.0, 412.0, 412.0)


def test_interval_is_the_exact_bootstrap_within_sampling_error() -> None:
    # For seven distinct samples the median of a resample is at most the k-th smallest where at least four of
    # seven picks are: k = 1 in 1.0 %, k = 2 in 10.3 % of resamples. So 2.5 % and 97.5 % fall on ranks 2 and 6.
    interval = stats.median_interval([10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0])
    assert (interval.low, interval.high) == (20.0, 60.0)


@pytest.mark.parametrize(("count", "expected"), [(3, 0.75), (5, 0.9375)])
def test_coverage_of_few_samples_is_what_the_docstring_says(count: int, expected: float) -> None:
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(400):
        interval = stats.median_interval(random.lognormal(size=count).tolist(), resamples=400)
        hits += interval.low <= 1.0 <= interval.high
    # Three standard errors of a proportion over 400 trials.
    assert abs(hits / 400 - expected) < 3.0 * (expected * (1.0 - expected) / 400) ** 0.5


def test_coverage_of_a_skewed_distribution_is_near_95_percent() -> None:
    random = np.random.default_rng(11)
    true_median = float(np.log(2.0))
    hits = 0
    for _ in range(400):
        interval = stats.median_interval(random.exponential(size=31).tolist(), resamples=400)
        hits += interval.low <= true_median <= interval.high
    assert 0.91 <= hits / 400 <= 0.985


def test_ratio_interval_of_separate_lists() -> None:
    low, high = stats.ratio_interval([20.0, 22.0, 24.0], [10.0, 11.0])
    # Both lists resampled: the extremes are 20/11 and 24/10, both likelier than 2.5 %.
    assert (low, high) == pytest.approx((20.0 / 11.0, 2.4))
    assert stats.ratio_interval([30.0], [10.0]) == (3.0, 3.0)


def test_same_samples_give_the_same_interval_and_another_seed_may_not() -> None:
    samples = np.random.default_rng(3).normal(100.0, 5.0, size=20).tolist()
    assert stats.median_interval(samples) == stats.median_interval(samples)
    assert stats.ratio_interval(samples, samples[:9]) == stats.ratio_interval(samples, samples[:9])
    assert stats.median_interval(samples, resamples=50) != stats.median_interval(samples, resamples=50, seed=1)


def test_less_confidence_gives_a_narrower_interval() -> None:
    samples = np.random.default_rng(5).normal(100.0, 5.0, size=20).tolist()
    wide, narrow = stats.median_interval(samples), stats.median_interval(samples, confidence=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
def test_no_or_endless_samples_are_refused(samples: list[float]) -> None:
    for compute in (stats.median, stats.median_interval, stats.harmonic_mean, stats.rate_interval):
        with pytest.raises(RecordError):
            compute(samples)
    with pytest.raises(RecordError):
        stats.percentile(samples, 95.0)
    with pytest.raises(RecordError):
        stats.ratio_interval([1.0], samples)


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_rates_that_are_not_above_zero_are_refused(rate: float) -> None:
    for compute in (stats.harmonic_mean, stats.rate_interval):
        with pytest.raises(RecordError, match="a rate of"):
            compute([10.0, rate])
    with pytest.raises(RecordError):
        stats.ratio_interval([rate], [1.0])
