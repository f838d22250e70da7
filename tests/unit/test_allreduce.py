"""What `bench allreduce` is asked, its points, records and table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from hpcdl.allreduce import AllreduceResults, Sample, is_allreduce, read_allreduce
from hpcdl.bench.allreduce import Sums
from hpcdl.bench.allreduce_asked import (
    SIZES,
    parse_bytes,
    parse_compressions,
    parse_engines,
    second_words,
    size_words,
)
from hpcdl.bench.allreduce_points import Key, fits, points
from hpcdl.bench.allreduce_table import fit_lines, table
from hpcdl.errors import ConfigError, RecordError
from hpcdl.launch.folder import prepare
from hpcdl.records import write_json
from hpcdl.report.write import write_report


def found(repeats: int = 3) -> dict[Key, list[Sample]]:
    """On 2 ranks, 10 us + 1 ns a byte; rank 1 is always the slower one. A copy takes 0.1 ns a byte."""
    every = {}
    for size in (1000, 100_000, 10_000_000):
        for engine, seconds in (("memory", size * 1e-10), ("plain", 2e-5 + size * 1e-9), ("mpi", 4e-5 + size * 2e-9)):
            calls = [[seconds / 2] * 3, [seconds] * 3]
            every[Key(engine, "none", 2, 1, size)] = [
                Sample(index=at, run=f"runs/{engine}-2-{at + 1}", started="2026-01-01T00:00:00+00:00", seconds=calls)
                for at in range(repeats)
            ]
    return every


def results(repeats: int = 3) -> AllreduceResults:
    every = found(repeats)
    return AllreduceResults(
        schema=1,
        model="ring",
        warmup_calls=3,
        points=points(every),
        fits=fits(every),
        environment={},
        command=["hpcdl"],
        created="2026-01-01T00:00:00+00:00",
    )


def test_points_have_the_slowest_ranks_time_and_its_bandwidths() -> None:
    by = {(point.engine, point.bytes): point for point in points(found())}
    plain = by["plain", 10_000_000]
    assert plain.seconds.median == pytest.approx(0.01002)
    assert plain.algorithm_bandwidth.median == pytest.approx(1e7 / 0.01002)
    assert plain.bus_bandwidth and plain.bus_bandwidth.median == pytest.approx(1e7 / 0.01002)  # 2(p-1)/p is 1
    assert by["memory", 1000].bus_bandwidth is None


def test_fits_leave_memory_out_and_find_what_the_times_were_made_of() -> None:
    by = {fit.engine: fit for fit in fits(found())}
    assert set(by) == {"plain", "mpi"}
    assert (by["plain"].alpha.value, by["plain"].beta.value) == pytest.approx((1e-5, 1e-9))
    assert (by["mpi"].alpha.value, by["mpi"].beta.value) == pytest.approx((2e-5, 2e-9))


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, results())
    assert read_allreduce(path) == results() and is_allreduce(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    for change, told in (({"schema": 2}, "schema 2"), ({"points": [{}]}, "points.0"), ({"extra": 1}, "extra")):
        path.write_text(json.dumps({**document, **change}), encoding="utf-8")
        with pytest.raises(RecordError, match=told):
            read_allreduce(path)
    path.write_text("{", encoding="utf-8")
    assert not is_allreduce(path)


def test_the_report_draws_the_bandwidth_and_keeps_every_point(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", results())
    written = write_report([tmp_path], tmp_path / "out")
    assert [path.name for path in written] == ["bandwidth.png", "bandwidth.svg", "results.csv"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(written[2].read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 9 and float(rows[1]["bus_bytes_per_s"]) == pytest.approx(1000 / 2.1e-5)
    write_json(tmp_path / "results.json", results().model_copy(update={"points": []}))
    with pytest.raises(RecordError, match="without sums"):
        write_report([tmp_path], tmp_path / "out")
    write_json(tmp_path / "results.json", results())
    (tmp_path / "other").mkdir()
    write_json(tmp_path / "other" / "results.json", results())
    with pytest.raises(ConfigError, match="2 allreduce benchmarks"):
        write_report([tmp_path, tmp_path / "other"], tmp_path / "out")


def test_a_benchmarks_folder_may_be_overwritten_and_not_one_with_other_runs(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "horovod-2-1"
    run.mkdir(parents=True)
    write_json(run / "launch.json", {})
    write_json(tmp_path / "results.json", {})
    (tmp_path / "bandwidth.png").touch()
    with pytest.raises(ConfigError, match="an earlier run"):
        prepare(tmp_path, overwrite=False)
    prepare(tmp_path, overwrite=True)
    assert not list(tmp_path.iterdir())


def test_the_table_compares_with_plain_mpi_and_a_copy() -> None:
    lines = [line.split() for line in table(results())]
    (row,) = [line for line in lines if line[:4] == ["2", "9.537", "MiB", "mpi"]]
    assert row[-4:] == ["0.499", "0.499", "0.50", "0.05"]


def test_one_start_shows_no_interval_and_an_unmeasured_latency_no_value() -> None:
    assert not any("[" in line for line in table(results(repeats=1)))
    one = results()
    fit = one.fits[0]
    lost = fit.model_copy(update={"alpha": fit.alpha.model_copy(update={"low": -1e-6})})
    (line,) = fit_lines(one.model_copy(update={"fits": [lost]}))
    assert "alpha not measured (below 10 us)" in line and "1 GB/s" in line


def test_one_rank_is_memory_alone_and_every_engine_starts_at_each_size_of_the_world() -> None:
    sums = Sums((1, 2, 4), (8,), ("mpi", "horovod"), ("none",), 1, 3, 1.0)
    assert sums.starts() == [
        (1, "plain"),
        *((ranks, name) for ranks in (2, 4) for name in ("plain", "mpi", "horovod")),
    ]


def test_sizes_are_read_with_their_units() -> None:
    assert parse_bytes("1MiB, 8,1KiB,2kB,1.0MB".replace("1.0MB", "1MB")) == (8, 1024, 2000, 1_000_000, 2**20)
    assert [size_words(size) for size in parse_bytes(SIZES)] == [
        "1 KiB", "8 KiB", "64 KiB", "512 KiB", "4 MiB", "32 MiB", "100 MiB",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "0", "4", "10", "1XiB", "-8", "1.5MiB", "1KiB,1024", "8,,8", "١KiB"])
def test_sizes_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--bytes"):
        parse_bytes(text)


def test_engines_and_compressions_by_name() -> None:
    assert parse_engines("mpi,mpi") == ("mpi",)
    assert parse_compressions("none,float16,bf16,fp16") == ("none", "fp16", "bf16")
    for parse, text in ((parse_engines, "single"), (parse_engines, ""), (parse_compressions, "int8")):
        with pytest.raises(ConfigError):
            parse(text)


def test_times_are_told_in_their_unit() -> None:
    assert [second_words(each) for each in (2.5, 0.0456, 1.2e-5)] == ["2.5 s", "45.6 ms", "12 us"]
