"""`hpcdl forecast`: what it answers, from tables and from records, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from scaling_records import sums as measured_sums
from typer.testing import CliRunner

from hpcdl.allreduce import Estimate, Fit
from hpcdl.analysis.scaling import Point as Measured
from hpcdl.analysis.scaling import measurements
from hpcdl.cli.app import app
from hpcdl.errors import HpcdlError, RecordError
from hpcdl.records import SCHEMA, RankTiming, Repetition, Results, write_json


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


def records(
    modes: Sequence[str] = ("weak",), ranks: Sequence[int] = (1, 2, 4), source: str = "real", engine: str = "horovod"
) -> str:
    def timings(count: int) -> list[RankTiming]:
        step, wait = [0.1 + 0.001 * (at % 3) for at in range(10)], 0.004 if count > 1 else 0.0
        return [
            RankTiming(
                rank=rank, host="n", node=0, local_rank=rank, cpus=[rank], step=step, input=[0.0] * 10,
                compute=[0.09] * 10, communication=[wait] * 10, cpu=[0.1] * 10,
            )
            for rank in range(count)
        ]  # fmt: skip

    def repetition(index: int, count: int) -> Repetition:
        rate = count * (320.0 - 4.0 * count + index)
        return Repetition(
            index=index, run=f"runs/{index}", started="2026-01-01T00:00:00Z", warmup_steps=1, steps=10, seconds=1.0,
            images=int(rate), images_per_s=rate, allreduce_bytes=0, usage=[], ranks=timings(count),
        )  # fmt: skip

    points = [
        Measured(
            engine, count, 1, mode, "cifar10-resnet20", source, 32 * count, 32, 1, 4, 50_000,
            [repetition(index, count) for index in range(3)],
        )
        for mode in modes for count in ranks
    ]  # fmt: skip
    config = {"model": {"name": "resnet20"}, "engine": {"bucket_mb": 25.0}, "train": {"epochs": 10}}
    document = Results(
        schema=SCHEMA,
        results=measurements(points),
        environment={},
        command=["hpcdl"],
        created="2026-01-01",
        config=config,
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
    text = call(records(), "--ranks", "4,32", "--network", "10gbit", "--simulate", "5")
    assert "nodes: 4 ranks each" in text and "1.08 MB a step in 1 bucket" in text and "scatter of repetitions" in text
    assert "an epoch" in text and "training" in text and "simulated" in text and "what limits at 32 ranks" in text


def test_laws_stand_beside_where_the_points_are_enough(call: Callable[..., str]) -> None:
    """Amdahl's law says what made the points; the universal one has an unknown more than there are of them."""
    rates = [100.0 / (0.1 + 0.9 / ranks) for ranks in (1, 4, 16)]
    path = table(f"ranks,images_per_s\n1,{rates[0]}\n4,{rates[1]}\n")
    one = json.loads(call(path, "--ranks", "16", "--laws", "--json"))["forecast"][0]
    assert one["laws"]["amdahl"] == pytest.approx(rates[2], rel=1e-3) and one["laws"]["usl"] is None
    assert one["laws"]["gustafson"] > one["laws"]["amdahl"]
    text = call(path, "--ranks", "16", "--laws")
    assert "Amdahl" in text and "Gustafson" in text and "USL" in text and "laws" not in call(path, "--ranks", "16")


def test_ranks_without_a_core_for_each_thread_are_left_out(call: Callable[..., str]) -> None:
    """Four ranks on the 4 cores of the records are measured, eight share them."""
    text = call(records(ranks=(1, 2, 4, 8)), "--ranks", "4")
    assert "left out: 8 ranks, whose compute threads" in text and "on 4\n" in text


def test_one_rank_count_that_had_its_cores_is_not_enough(call: Callable[..., str]) -> None:
    with pytest.raises(RecordError, match="8 ranks, whose compute threads"):
        call(records(ranks=(4, 8)), "--ranks", "4")


def test_synthetic_images_and_an_engine_that_hides_nothing(call: Callable[..., str]) -> None:
    text = call(records(source="synthetic", engine="mpi"), "--ranks", "8", "--simulate", "5")
    assert "simulated" in text and "the input twice as fast" not in text


def test_a_site_tells_its_network_and_ranks_a_node(call: Callable[..., str]) -> None:
    text = call(table("ranks,images_per_s\n1,240\n2,464\n"), "--ranks", "8", "--network", "marenostrum5-acc")
    assert "nodes: 4 ranks each" in text and "4x200gbit-ib, 100 GB/s" in text


def fit(engine: str, ranks: int, nodes: int, alpha: float, beta: float, **differs: object) -> Fit:
    """With intervals of a tenth."""
    known = {name: Estimate(value=v, low=0.9 * v, high=1.1 * v) for name, v in (("alpha", alpha), ("beta", beta))}
    words = {"engine": engine, "ranks": ranks, "nodes": nodes, "compression": "none", "sizes": 3, "error": 0.01}
    return Fit(**{**words, **known, **differs})


def sums(*fits: Fit, name: str = "sums") -> str:
    Path(name).mkdir()
    document = measured_sums().model_copy(update={"fits": list(fits)})
    write_json(Path(name, "results.json"), document)
    return name


def test_measured_sums_tell_the_links(call: Callable[..., str]) -> None:
    """Of the engine that trained, on the most ranks, on one node or on several, without compression."""
    network = sums(
        fit("plain", 8, 4, 1e-6, 1e-10),
        fit("horovod", 8, 4, 2e-5, 4e-10),
        fit("horovod", 8, 4, 2e-5, 2e-10, compression="fp16"),
        fit("horovod", 4, 2, 3e-5, 5e-10),
        fit("horovod", 2, 1, 5e-6, 8e-11),
    )
    text = call(records(), "--ranks", "32", "--network", network, "--inside", f"{network}/results.json")
    assert "between nodes: sums (horovod, 8 ranks), 2.5 GB/s, 20 µs a message" in text
    assert "inside a node: sums/results.json (horovod, 2 ranks), 12.5 GB/s, 5 µs a message" in text


def test_measured_sums_forecast_as_their_figures_do(call: Callable[..., str]) -> None:
    path = records()
    network = sums(fit("horovod", 8, 4, 2e-5, 4e-10))
    answers = [
        json.loads(call(path, "--ranks", "32", "--network", given, "--json"))["forecast"]
        for given in (network, "2e-5,4e-10", "2e-5,4e-9")
    ]
    assert answers[0] == answers[1] != answers[2]


def test_an_alpha_that_was_not_told_is_none_and_a_beta_is_refused(call: Callable[..., str]) -> None:
    untold = Estimate(value=1e-6, low=-1e-6, high=2e-6)
    text = call(
        records(), "--ranks", "8", "--network", sums(fit("mpi", 2, 2, 1e-6, 1e-9).model_copy(update={"alpha": untold}))
    )
    assert "sums (mpi, 2 ranks), 1 GB/s, 0 µs a message" in text
    other = sums(fit("mpi", 2, 2, 1e-6, 1e-9).model_copy(update={"beta": untold}), name="other")
    for option, expected in (("--network", "several nodes"), ("--inside", "one node")):
        with pytest.raises(RecordError, match=f"(?s)mpi on 2 ranks of 2 nodes.*a fit on {expected}"):
            call("b", "--ranks", "8", option, other)


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
        (["notes.txt", "--ranks", "8"], "notes.txt without the column ranks"),
        (["notes.json", "--ranks", "8"], "notes.json: not JSON"),
        (["folder.csv", "--ranks", "8"], "folder.csv: Is a directory"),
    ],
)
def test_bad_options_are_refused(arguments: list[str], received: str, call: Callable[..., str]) -> None:
    table("ranks,images_per_s\n1,240\n2,464\n")
    Path("binary.csv").write_bytes(b"\xff\xfe\x00")
    Path("folder.csv").mkdir()
    for name in ("notes.txt", "notes.json"):
        Path(name).write_text("It was fast.\n", encoding="utf-8")
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
