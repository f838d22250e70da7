"""Speedup, efficiency and step times against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hpcdl.analysis.scaling import Point, imbalance, measurements, oversubscribed, parted, step_seconds
from hpcdl.errors import RecordError
from hpcdl.records import Interval, RankTiming, Repetition


def timing(
    rank: int = 0,
    step: Sequence[float] = (0.1, 0.1),
    input_wait: Sequence[float] = (0.01, 0.01),
    communication: Sequence[float] = (0.02, 0.02),
    compute: Sequence[float] | None = None,
) -> RankTiming:
    return RankTiming(
        rank=rank,
        host="n1",
        node=0,
        local_rank=rank,
        cpus=[rank],
        step=list(step),
        input=list(input_wait),
        compute=[0.05] * len(step) if compute is None else list(compute),
        communication=list(communication),
        cpu=[0.09] * len(step),
    )


def repetition(rate: float, ranks: Sequence[RankTiming] | None = None) -> Repetition:
    return Repetition(
        index=0,
        run="runs/0",
        started="2026-01-01T00:00:00Z",
        warmup_steps=1,
        steps=2,
        seconds=100.0 / rate if rate > 0.0 else 1.0,
        images=100,
        images_per_s=rate,
        allreduce_bytes=400,
        usage=[],
        ranks=[timing()] if ranks is None else list(ranks),
    )


def point(ranks: int, rates: Sequence[float], *, engine: str = "mpi", mode: str = "weak", cores: int = 8) -> Point:
    runs = [repetition(rate) for rate in rates]
    return Point(engine, ranks, 1, mode, "cnn", "real", 64 * ranks, 32, 2, cores, None, runs)


def test_speedup_and_efficiency_follow_their_formulas() -> None:
    one, four = measurements([point(1, [90.0, 100.0, 110.0]), point(4, [300.0, 320.0, 310.0])])
    assert one.images_per_s.median == 100.0
    assert (one.speedup, one.efficiency, one.speedup_interval) == (1.0, 1.0, (1.0, 1.0))
    assert four.speedup == pytest.approx(3.1)
    assert four.efficiency == pytest.approx(3.1 / 4)
    # Three samples a side: the extremes of the ratio are likelier than 2.5 %.
    assert four.speedup_interval == pytest.approx((300 / 110, 320 / 90))
    assert four.efficiency_interval == pytest.approx((300 / 110 / 4, 320 / 90 / 4))
    assert (one.base_ranks, four.base_ranks) == (1, 1)


def test_the_base_is_the_fewest_ranks_wherever_it_stands() -> None:
    eight, two = measurements([point(8, [600.0]), point(2, [200.0])])
    assert (eight.base_ranks, two.base_ranks) == (2, 2)
    assert eight.speedup == pytest.approx(3.0)
    assert eight.efficiency == pytest.approx(0.75)
    assert [eight.ranks, two.ranks] == [8, 2]


def test_engines_and_modes_have_bases_of_their_own() -> None:
    found = measurements(
        [
            point(1, [100.0]),
            point(2, [150.0]),
            point(1, [50.0], engine="horovod"),
            point(2, [100.0], engine="horovod"),
            point(2, [70.0], mode="strong"),
        ]
    )
    assert [m.speedup for m in found] == pytest.approx([1.0, 1.5, 1.0, 2.0, 1.0])
    assert found[-1].base_ranks == 2


def test_one_repetition_has_no_width() -> None:
    _, two = measurements([point(1, [100.0]), point(2, [150.0])])
    assert (two.images_per_s.low, two.images_per_s.high) == (150.0, 150.0)
    assert two.speedup_interval == (1.5, 1.5)


def test_step_seconds_are_medians_over_all_steps() -> None:
    seconds, share = step_seconds(
        [
            timing(0, step=(0.10, 0.20, 0.30), input_wait=(0.01, 0.02, 0.03), communication=(0.04, 0.02, 0.03)),
            timing(1, step=(0.10, 0.20), input_wait=(0.00, 0.05), communication=(0.00, 0.01)),
        ]
    )
    assert seconds.median == pytest.approx(0.20)
    assert seconds.p95 == pytest.approx(0.28)
    assert seconds.input == pytest.approx(0.02)
    assert seconds.communication == pytest.approx(0.02)
    assert seconds.compute == pytest.approx(0.05)
    # step - input - compute - communication: 0.00, 0.11, 0.19, 0.05, 0.09
    assert seconds.other == pytest.approx(0.09)
    assert share == pytest.approx(0.10 / 0.90)


def test_oversubscribed_counts_threads_against_cores() -> None:
    fits, crowded = measurements([point(4, [100.0]), point(8, [100.0])])
    assert (oversubscribed(fits), oversubscribed(crowded)) == (False, True)


def test_imbalance_compares_own_time_without_the_wait() -> None:
    # All steps last 0.1 s; the last rank never waits, so it is the one that is slow.
    ranks = [timing(at, communication=(wait, wait)) for at, wait in enumerate((0.04, 0.04, 0.0))]
    runs = [repetition(100.0, ranks)]
    (m,) = measurements([Point("mpi", 3, 1, "weak", "cnn", "real", 96, 32, 1, 8, None, runs)])
    assert imbalance(m) == pytest.approx(0.10 / 0.06)


def test_intervals_part_only_where_they_do_not_overlap() -> None:
    def interval(low: float, high: float, count: int = 3) -> Interval:
        return Interval(median=(low + high) / 2, low=low, high=high, samples=[low] * count)

    assert parted(interval(1, 2), interval(3, 4)) is True
    assert parted(interval(3, 4), interval(1, 2)) is True
    assert parted(interval(1, 3), interval(2, 4)) is False
    assert parted(interval(1, 2), interval(3, 4, count=1)) is None


@pytest.mark.parametrize("rates", [[], [0.0], [-3.0], [float("nan")], [100.0, 0.0]])
def test_unusable_rates_are_refused_by_name(rates: list[float]) -> None:
    with pytest.raises(RecordError, match="cnn, mpi, weak, real, 2 ranks"):
        measurements([point(1, [100.0]), point(2, rates)])


def test_the_same_point_twice_is_refused() -> None:
    with pytest.raises(RecordError, match="twice"):
        measurements([point(2, [100.0]), point(2, [110.0])])


@pytest.mark.parametrize(
    "ranks",
    [
        [],
        [timing(step=(), input_wait=(), communication=())],
        [timing(step=(0.1, 0.1, 0.1))],
        [timing(step=(0.1, 0.0))],
        [timing(compute=(0.1,))],
        [timing(compute=(0.1, -0.1))],
        [timing(communication=(0.1, float("nan")))],
    ],
)
def test_unusable_steps_are_refused(ranks: list[RankTiming]) -> None:
    runs = [repetition(100.0, ranks)]
    with pytest.raises(RecordError):
        measurements([Point("mpi", 1, 1, "weak", "cnn", "real", 64, 32, 1, 8, None, runs)])


def test_no_points_are_no_measurements() -> None:
    assert measurements([]) == []
