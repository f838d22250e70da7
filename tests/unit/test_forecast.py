"""Forecasts of tables that formulas made, of published ones, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hpcdl.analysis import advice, network, posterior
from hpcdl.analysis.forecast import Calibrated, Point, calibrate
from hpcdl.analysis.links import find_link
from hpcdl.analysis.network import Cost
from hpcdl.analysis.scaling import Point as Measured
from hpcdl.analysis.scaling import measurements
from hpcdl.analysis.stepmodel import Setting
from hpcdl.cli.app import app
from hpcdl.errors import HpcdlError
from hpcdl.records import RankTiming, Repetition, Results, write_json

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


def test_measured_shares_of_communication_are_met() -> None:
    points = [Point(1, 100.0), Point(2, 160.0, communication=0.18), Point(4, 310.0, communication=0.2)]
    told = calibrate(points, Setting(4, batch=32)).parts([4]).communication
    untold = calibrate([replace(point, communication=None) for point in points], Setting(4, batch=32))
    assert np.median(told) == pytest.approx(0.2, abs=0.05)
    assert np.median(untold.parts([4]).communication) != pytest.approx(0.2, abs=0.03)


# ---- the command


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["forecast", *arguments])
        if isinstance(result.exception, HpcdlError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def table(text: str) -> str:
    Path("table.csv").write_text(text, encoding="utf-8")
    return "table.csv"


def records(modes: Sequence[str] = ("weak",), ranks: Sequence[int] = (1, 2, 4)) -> str:
    def timings(count: int) -> list[RankTiming]:
        step, wait = [0.1 + 0.001 * (at % 3) for at in range(10)], 0.004 if count > 1 else 0.0
        return [
            RankTiming(
                rank=rank, host="n", node=0, local_rank=rank, cpus=[rank], step=step, input=[0.0] * 10,
                communication=[wait] * 10,
            )
            for rank in range(count)
        ]  # fmt: skip

    def repetition(index: int, count: int) -> Repetition:
        rate = count * (320.0 - 4.0 * count + index)
        return Repetition(
            index=index, run=f"runs/{index}", started="2026-01-01T00:00:00Z", warmup_steps=1, steps=10, seconds=1.0,
            images=int(rate), images_per_s=rate, ranks=timings(count),
        )  # fmt: skip

    points = [
        Measured(
            "horovod", count, 1, mode, "cifar10-resnet20", "real", 32 * count, 32, 1, 4,
            [repetition(index, count) for index in range(3)],
        )
        for mode in modes for count in ranks
    ]  # fmt: skip
    config = {"model": {"name": "resnet20"}, "engine": {"bucket_mb": 25.0}, "train": {"epochs": 10}}
    document = Results(
        schema=1, results=measurements(points), environment={}, command=["hpcdl"], created="2026-01-01", config=config
    )
    Path("b").mkdir()
    write_json(Path("b/results.json"), document)
    return "b"


def test_json_answers_the_contract(call: Callable[..., str]) -> None:
    answer = json.loads(call(table("ranks,images_per_s\n1,240\n2,464\n4,892\n"), "--ranks", "8,64", "--json"))
    assert [each["ranks"] for each in answer["forecast"]] == [8, 64]
    for each in answer["forecast"]:
        assert each["images_per_s"]["low"] < each["images_per_s"]["median"] < each["images_per_s"]["high"]
        assert each["efficiency"] == pytest.approx(each["images_per_s"]["median"] / each["ranks"] / 240.0)


def test_time_to_train_is_images_over_rate(call: Callable[..., str]) -> None:
    path = table("# a comment\nimages_per_s,ranks,note\n240,1,x\n464,2,\n")
    one = json.loads(call(path, "--ranks", "8", "--images", "1e6", "--epochs", "90", "--json"))["forecast"][0]
    assert one["epoch_seconds"] == pytest.approx(1e6 / one["images_per_s"]["median"])
    assert one["training_seconds"] == pytest.approx(90 * one["epoch_seconds"])


def test_records_tell_network_batch_and_epochs(call: Callable[..., str]) -> None:
    text = call(records(), "--ranks", "4,32", "--network", "10gbit", "--images", "50000", "--simulate", "5")
    assert "nodes: 4 ranks each" in text and "1.08 MB a step in 1 buckets" in text and "scatter of repetitions" in text
    assert "training" in text and "simulated" in text and "what limits at 32 ranks" in text


def test_a_site_tells_its_network_and_ranks_a_node(call: Callable[..., str]) -> None:
    text = call(table("ranks,images_per_s\n1,240\n2,464\n"), "--ranks", "8", "--network", "marenostrum5-acc")
    assert "nodes: 4 ranks each" in text and "4x200gbit-ib, 100 GB/s" in text


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("", "without the column ranks and images_per_s"),
        ("a,b\n1,2\n", "without the column ranks and images_per_s"),
        ("ranks\n1\n2\n", "without the column images_per_s"),
        ("ranks,images_per_s\n", "0 rank counts"),
        ("ranks,images_per_s\n4,900\n", "1 rank count"),
        ("ranks,images_per_s\n1,240\n2,fast\n", "line 3: images_per_s 'fast'"),
        ("ranks,images_per_s\n1,240\n2,nan\n", "line 3: images_per_s 'nan'"),
        ("ranks,images_per_s\n1,240\n2,inf\n", "line 3: images_per_s 'inf'"),
        ("ranks,images_per_s\n1,240\n2,0\n", "line 3: images_per_s 0"),
        ("ranks,images_per_s\n1,240\n2,-5\n", "line 3: images_per_s -5"),
        ("ranks,images_per_s\n1,240\n2\n", "line 3: images_per_s 'empty'"),
        ("ranks,images_per_s\n1,240\n2.5,400\n", "line 3: ranks 2.5"),
        ("ranks,images_per_s\n0,240\n2,400\n", "line 2: ranks 0"),
        ("ranks,images_per_s\n1,240\n\n# more\n1,250\n", "line 5: 1 ranks again"),
    ],
)
def test_a_bad_table_is_refused(text: str, received: str, call: Callable[..., str]) -> None:
    with pytest.raises(HpcdlError) as caught:
        call(table(text), "--ranks", "8")
    assert received in caught.value.received
    assert caught.value.expected and caught.value.fix and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        (["nowhere.csv", "--ranks", "8"], "no file nowhere.csv"),
        (["nowhere", "--ranks", "8"], "no file nowhere/results.json"),
        (["table.csv", "--ranks", "8,x"], "--ranks 8,x"),
        (["table.csv", "--ranks", "0"], "--ranks 0"),
        (["table.csv", "--ranks", "2.5"], "--ranks 2.5"),
        (["table.csv", "--ranks", "99999999"], "--ranks 99999999"),
        (["table.csv", "--ranks", "8", "--network", "fast"], "--network fast"),
        (["table.csv", "--ranks", "8", "--network", "generic-gpu"], "--network generic-gpu, a site"),
        (["table.csv", "--ranks", "8", "--inside", "1,2"], "--inside 1,2"),
        (["table.csv", "--ranks", "8", "--bytes", "-1"], "--bytes -1"),
        (["table.csv", "--ranks", "8", "--images", "nan"], "--images nan"),
        (["table.csv", "--ranks", "8", "--batch", "1", "--global-batch", "1"], "--batch and --global-batch"),
        (["table.csv", "--ranks", "8", "--mode", "weak"], "--mode with a table"),
        (["binary.csv", "--ranks", "8"], "which is not text"),
        (["folder.csv", "--ranks", "8"], "folder.csv: Is a directory"),
    ],
)
def test_bad_options_are_refused(arguments: list[str], received: str, call: Callable[..., str]) -> None:
    table("ranks,images_per_s\n1,240\n2,464\n")
    Path("binary.csv").write_bytes(b"\xff\xfe\x00")
    Path("folder.csv").mkdir()
    with pytest.raises(HpcdlError) as caught:
        call(*arguments)
    assert received in caught.value.received
    assert caught.value.expected and caught.value.fix and caught.value.exit_code == 2


def test_one_of_several_series_must_be_chosen(call: Callable[..., str]) -> None:
    path = records(("weak", "strong"))
    with pytest.raises(HpcdlError, match="2 series: horovod, weak, cifar10-resnet20, real; horovod, strong"):
        call(path, "--ranks", "8")
    assert "what limits" in call(path, "--ranks", "8", "--mode", "strong")
    with pytest.raises(HpcdlError, match="no series"):
        call(path, "--ranks", "8", "--engine", "mpi")


def test_records_of_one_rank_count_are_refused(call: Callable[..., str]) -> None:
    with pytest.raises(HpcdlError, match="1 rank count"):
        call(records(ranks=(2,)), "--ranks", "8")


def test_no_tensorflow_is_imported(call: Callable[..., str]) -> None:
    table("ranks,images_per_s\n1,240\n2,464\n")
    code = (
        "import sys; from hpcdl.cli.app import app\n"
        "app(['forecast', 'table.csv', '--ranks', '8'], standalone_mode=False)\n"
        "print(sorted({'tensorflow', 'keras', 'mpi4py', 'horovod', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
