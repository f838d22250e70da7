"""Forecasts of tables that formulas made, and of published ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hpcdl.analysis import advice, network, posterior
from hpcdl.analysis.forecast import Calibrated, Point, calibrate
from hpcdl.analysis.links import find_link
from hpcdl.analysis.network import Cost
from hpcdl.analysis.stepmodel import Setting

DLPERF = Setting(
    ranks_per_node=8, batch=128, bytes=102.2e6, inside=find_link("nvlink2"), between=find_link("100gbit-ib")
)
PYTORCH = [Point(1, 350.66), Point(4, 1306.49), Point(8, 2707.42)]
"""DLPerf, PyTorch ResNet-50 on V100; 16 and 32 ranks made 5,193.09 and 10,032.72 images/s."""


@pytest.fixture(scope="module")
def pytorch() -> Calibrated:
    return calibrate(PYTORCH, DLPERF)


def test_draws_have_the_moments_of_a_posterior_that_is_known() -> None:
    # A standard normal prior and one observation 2 ± 0.5 of the first unknown: normal with mean 1.6, variance 0.2.
    values = posterior.draw(lambda z: -0.5 * ((z[:, 0] - 2.0) / 0.5) ** 2, 3, draws=4000, seed=1)
    assert values[:, 0].mean() == pytest.approx(1.6, abs=0.05)
    assert values[:, 0].var() == pytest.approx(0.2, abs=0.03)
    assert values[:, 1:].std(axis=0) == pytest.approx([1.0, 1.0], abs=0.06)


def test_a_published_table_is_forecast_across_the_node_boundary(pytorch: Calibrated) -> None:
    sixteen, more = pytorch.forecast([16, 32])
    assert sixteen.median == pytest.approx(5193.09, rel=0.05) and sixteen.low < 5193.09 < sixteen.high
    assert more.median == pytest.approx(10032.72, rel=0.05) and more.low < 10032.72 < more.high


def test_what_was_measured_is_met_and_intervals_widen_with_distance(pytorch: Calibrated) -> None:
    found = pytorch.forecast([4, 8, 16, 64, 512, 4096])
    assert found[1].median == pytest.approx(2707.42, rel=0.03)
    widths = [np.log(each.high / each.low) for each in found]
    assert widths == sorted(widths)
    assert all(each.low <= each.median <= each.high for each in found)
    assert found[-1].median < 4096 * 350.66 and found[-1].high < 4096 * 350.66 * 1.1


def test_the_same_table_gives_the_same_forecast() -> None:
    assert calibrate(PYTORCH, DLPERF).forecast([64]) == calibrate(PYTORCH[::-1], DLPERF).forecast([64])


def test_a_machine_of_known_figures_is_forecast() -> None:
    """A table made by formulas that hide nothing: 0.2 s of compute, then a ring of the bytes through all nodes."""
    link = Cost(1e-5, 8e-10)

    def rate(ranks: int) -> float:
        return float(ranks * 64 / (0.2 + network.ring(4e8, ranks, link)))

    setting = Setting(1, batch=64, bytes=4e8, between=find_link("1e-5,8e-10"), bucket_bytes=1e9, overlap=False)
    calibrated = calibrate([Point(ranks, rate(ranks)) for ranks in (1, 2, 4, 8)], setting)
    for each in calibrated.forecast([16, 32, 64]):
        assert each.low < rate(each.ranks) < each.high
        assert each.median == pytest.approx(rate(each.ranks), rel=0.1)
    assert advice.limit(calibrated, 64)[0] == "communication between nodes"
    gains = {change.name: change.gain for change in advice.changes(calibrated, 64)}
    # Compute goes twice as far for one reduction, or the reduction takes half as long.
    assert gains["twice the batch a rank"] == pytest.approx(
        2 * (0.2 + network.ring(4e8, 64, link)) / (0.4 + network.ring(4e8, 64, link)), rel=0.1
    )
    assert gains["16-bit compression (engine.compression=fp16)"] == pytest.approx(
        (0.2 + network.ring(4e8, 64, link)) / (0.2 + network.ring(2e8, 64, link)), rel=0.1
    )


def test_a_slower_network_gives_a_lower_forecast(pytorch: Calibrated) -> None:
    rates = [
        calibrate(PYTORCH, replace(DLPERF, between=find_link(name))).forecast([64])[0].median
        for name in ("1gbit", "10gbit", "100gbit-ib")
    ]
    assert rates == sorted(rates) and rates[0] < 0.5 * rates[-1]


def test_strong_scaling_ends_where_a_doubling_is_waste() -> None:
    # Each rank has 256 / p images of 1 ms, and a reduction of 5 ms that nothing hides.
    points = [Point(p, 256 / (0.001 * 256 / p + (0.005 if p > 1 else 0.0))) for p in (1, 2, 4, 8)]
    calibrated = calibrate(points, Setting(1, global_batch=256, overlap=False))
    beyond = advice.waste_beyond(calibrated)
    # A doubling adds half where 256 / 2p = 5: at 26 ranks.
    assert beyond in (16, 32)


def test_good_weak_scaling_has_no_waste_nearby(pytorch: Calibrated) -> None:
    assert advice.waste_beyond(pytorch) is None


def test_a_node_that_is_full_is_no_end_where_more_nodes_still_help() -> None:
    # DLPerf, PyTorch with the slow loader: eight ranks of a node are as fast as four, and two nodes as fast as two are.
    points = [Point(p, rate) for p, rate in ((1, 306.35), (4, 1079.19), (8, 1070.37), (16, 2093.53))]
    assert advice.waste_beyond(calibrate(points, DLPERF)) is None


def test_measured_shares_of_communication_are_met() -> None:
    points = [Point(1, 100.0), Point(2, 160.0, communication=0.18), Point(4, 310.0, communication=0.2)]
    told = calibrate(points, Setting(4, batch=32)).parts([4]).communication
    untold = calibrate([replace(point, communication=None) for point in points], Setting(4, batch=32))
    assert np.median(told) == pytest.approx(0.2, abs=0.05)
    assert np.median(untold.parts([4]).communication) != pytest.approx(0.2, abs=0.03)
