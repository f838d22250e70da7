"""The report's files, read back by other parsers, and what it says about good and bad records."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

from hpcdl.analysis.scaling import Point, measurements
from hpcdl.errors import HpcdlError, RecordError
from hpcdl.records import RankTiming, Repetition, Results, read_results, write_json
from hpcdl.report import figures, page, tables
from hpcdl.report.markdown import markdown
from hpcdl.report.merge import Source, merge
from hpcdl.report.series import group
from hpcdl.report.summary import summary
from hpcdl.report.write import write_report

FILES = ["efficiency.png", "report.html", "report.md", "results.csv", "results.json", "throughput.png"]
HOSTILE = "<script>alert(1)</script>|`_$\\frac{ [x](y)"


def repetition(index: int, ranks: int, batch: int, step: float, communication: float) -> Repetition:
    slower = step * (1.0 + 0.01 * index)
    timings = [
        RankTiming(
            rank=rank,
            host="n1",
            node=0,
            local_rank=rank,
            cpus=[rank],
            step=[slower] * 3,
            input=[0.001] * 3,
            communication=[communication] * 3,
        )
        for rank in range(ranks)
    ]
    return Repetition(
        index=index,
        run=f"runs/{ranks}-{index}",
        started="2026-01-01T00:00:00Z",
        warmup_steps=5,
        steps=3,
        seconds=3 * slower,
        images=3 * batch,
        images_per_s=batch / slower,
        ranks=timings,
    )


def results(
    *,
    engines: Sequence[str] = ("horovod", "mpi"),
    ranks: Sequence[int] = (1, 2, 4),
    repeats: int = 5,
    recipe: str = "cifar10-cnn",
    source: str = "synthetic",
    cores: int = 2,
    loss: float = 0.02,
) -> Results:
    """A weak-scaling study in which each rank beyond the first adds `loss` seconds of communication."""
    points = [
        Point(
            engine,
            count,
            1,
            "weak",
            recipe,
            source,
            64 * count,
            32,
            1,
            cores,
            [
                repetition(i, count, 64 * count, 0.1 + loss * (count - 1) + 0.001 * shift, loss * (count - 1))
                for i in range(repeats)
            ],
        )
        for shift, engine in enumerate(engines)
        for count in ranks
    ]
    return Results(
        schema=1,
        results=measurements(points),
        environment={"host": "n1", "versions": {"python": "3.11"}, "data": "made from seed 0", "gpus": []},
        command=["hpcdl", "bench", "scaling", "--ranks", "1,2,4", "name=a b"],
        created="2026-01-01T00:00:00Z",
        config={"name": recipe, "data": {"augment": ["flip"], "path": None}},
    )


def save(folder: Path, document: Results) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "results.json", document)
    return folder


class Page(HTMLParser):
    """Collects the tags, links, tables and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.cells: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    folder = save(root / "study", results())
    written = write_report([folder], root / "new" / "out")
    assert sorted(path.name for path in written) == FILES
    return root / "new" / "out"


def numbers(words: str) -> set[str]:
    return set(re.findall(r"\d[\d,]*(?:\.\d+)?", words))


def test_all_files_are_there_and_nothing_else(report: Path) -> None:
    assert sorted(path.name for path in report.iterdir()) == FILES


def test_page_needs_nothing_from_elsewhere(report: Path) -> None:
    html = (report / "report.html").read_text()
    parsed = Page(html)
    assert parsed.links
    assert all(link.startswith("data:image/svg+xml;base64,") for link in parsed.links)
    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert "@import" not in html
    assert "url(" not in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_page_tells_how_to_repeat_it_and_where_it_ran(report: Path) -> None:
    text = " ".join(Page((report / "report.html").read_text()).words)
    for words in ("hpcdl bench scaling --ranks 1,2,4 'name=a b'", "versions.python", "made from seed 0"):
        assert words in text
    for words in ('data.augment=["flip"]', "data.path=null", "n = 5 repetitions", "guide to the eye"):
        assert words in text
    assert "drops 5 warm-up steps" in text


def test_pictures_are_png_of_print_size(report: Path) -> None:
    for name in ("throughput.png", "efficiency.png"):
        content = (report / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        assert width == round(figures.WIDTH * figures.DPI)
        assert height > 600


def test_csv_reads_back_with_the_columns_that_forecast_needs(report: Path) -> None:
    with (report / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:2] == ["ranks", "images_per_s"]
    assert [(row["engine"], row["ranks"]) for row in rows[:3]] == [("horovod", "1"), ("horovod", "2"), ("horovod", "4")]
    # Repetition 2 of 5 is the median: 64 images in 0.1 s x 1.02, then 128 in 0.12 s x 1.02.
    assert float(rows[0]["images_per_s"]) == pytest.approx(64 / 0.102)
    assert float(rows[1]["speedup"]) == pytest.approx(2 * 0.1 / 0.12)
    assert float(rows[1]["efficiency"]) == pytest.approx(0.1 / 0.12)
    assert float(rows[1]["communication_s"]) == pytest.approx(0.02)
    assert [row["oversubscribed"] for row in rows[:3]] == ["False", "False", "True"]


def test_results_json_reads_back_and_its_run_folders_still_lead_there(report: Path) -> None:
    again = read_results(report / "results.json")
    assert len(again.results) == 6
    run = again.results[0].repetitions[0].run
    assert (report / run).resolve() == (report.parent.parent / "study" / "runs" / "1-0").resolve()


def test_summary_is_short_and_each_of_its_figures_is_in_a_table(report: Path) -> None:
    series = group(read_results(report / "results.json").results)
    sentences = summary(series)
    assert len(sentences) <= 5
    rows = [*tables.rate_table(series).rows, *tables.step_table(series).rows]
    known = numbers(" ".join(cell for row in rows for cell in row)) | {"95"}
    assert numbers(" ".join(sentences).replace("cifar10-cnn", "")) <= known
    told = " ".join(sentences)
    for words in ("this is the base", "communication", "oversubscribed", "synthetic stand-ins", "overlap"):
        assert words in told


def test_markdown_table_has_a_row_a_measurement(report: Path) -> None:
    lines = (report / "report.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| cifar10-cnn")]
    assert len(rows) == 12
    assert len({row.count(" | ") for row in rows[:6]}) == 1
    assert "![Throughput against ranks](throughput.png)" in lines


def test_overlapping_intervals_are_not_called_faster() -> None:
    told = " ".join(summary(group(results(engines=("mpi",), ranks=(1, 2), loss=0.1).results)))
    assert "not distinguishable" in told


def test_ideal_scaling_has_no_limit() -> None:
    told = " ".join(summary(group(results(engines=("mpi",), cores=16, loss=0.0, source="real").results)))
    assert "no single limit stands out" in told
    assert "100.0 %" in told
    assert "stand-in" not in told


def test_communication_is_named_as_the_limit() -> None:
    told = " ".join(summary(group(results(engines=("mpi",), cores=16).results)))
    assert "what limits is communication: 60.0 ms a step against 0.00 ms at the base" in told


def test_one_rank_count_claims_no_speedup(tmp_path: Path) -> None:
    study = results(engines=("mpi",), ranks=(2,))
    told = " ".join(summary(group(study.results)))
    assert "Only one rank count was measured" in told
    assert "times the base" not in told
    html = page.html(study, group(study.results), [Source("a", tmp_path, study)])
    assert "it needs two rank counts" in html
    assert "one rank count" in tables.rate_table(group(study.results)).rows[0]
    assert html.count("<figure>") == 1


def test_one_repetition_has_no_interval(tmp_path: Path) -> None:
    study = results(engines=("mpi",), repeats=1)
    series = group(study.results)
    assert "single repetition gives no interval" in " ".join(summary(series))
    told = markdown(series, [Source("a", tmp_path, study)])
    assert "1 [no interval]" in told
    assert " to 640]" not in told
    assert "nothing can be told apart from chance" in told


def test_hostile_words_are_shown_and_not_run(tmp_path: Path) -> None:
    study = results(engines=(HOSTILE,), recipe=HOSTILE, ranks=(1, 2), source="_" + HOSTILE)
    study = study.model_copy(update={"environment": {HOSTILE: HOSTILE}, "command": [HOSTILE], "created": HOSTILE})
    series, sources = group(study.results), [Source("a<b", tmp_path, study)]
    html = page.html(study, series, sources)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "script" not in Page(html).tags
    table = [line for line in markdown(series, sources).splitlines() if line.startswith("| ")]
    assert not any("<script" in line for line in table)
    header, rows = table[0], [line for line in table if "&lt;script" in line]
    assert len(re.split(r"(?<!\\)\|", rows[0])) == len(header.split("|"))
    assert next(csv.DictReader(io.StringIO(tables.csv_text(series))))["recipe"] == HOSTILE


def test_same_records_give_the_same_bytes(report: Path) -> None:
    series = group(read_results(report / "results.json").results)
    assert figures.png(figures.throughput(series)) == (report / "throughput.png").read_bytes()
    assert figures.svg(figures.efficiency(series)) == figures.svg(figures.efficiency(series))


def test_two_folders_with_the_same_series_stay_two_series(tmp_path: Path) -> None:
    study = results(engines=("mpi",), ranks=(1, 2))
    sources = [Source(name, tmp_path / name, study) for name in ("first", "second")]
    merged = merge(sources, ["hpcdl", "report", "first", "second"], tmp_path / "out")
    assert [series.recipe for series in group(merged.results)] == ["cifar10-cnn (first)", "cifar10-cnn (second)"]
    assert set(merged.environment) == {"first", "second"}
    assert merged.environment["first"]["command"].startswith("hpcdl bench scaling")
    assert merged.results[-1].repetitions[0].run == "../second/runs/2-0"


def test_different_series_keep_their_names(tmp_path: Path) -> None:
    sources = [Source(name, tmp_path / name, results(engines=(name,), ranks=(1, 2))) for name in ("mpi", "horovod")]
    merged = merge(sources, ["hpcdl", "report", "mpi", "horovod"], tmp_path / "out")
    assert {m.recipe for m in merged.results} == {"cifar10-cnn"}
    assert [m.speedup for m in merged.results[:2]] == [m.speedup for m in sources[0].results.results]


def test_a_report_beside_its_records_leaves_them_as_they_are(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", results(engines=("mpi",)))
    before = (folder / "results.json").read_bytes()
    assert sorted(path.name for path in write_report([folder, folder], folder)) == FILES
    assert (folder / "results.json").read_bytes() == before


def test_a_merged_report_never_replaces_records(tmp_path: Path) -> None:
    folders = [save(tmp_path / name, results(engines=(name,), ranks=(1, 2))) for name in ("mpi", "horovod")]
    with pytest.raises(HpcdlError) as error:
        write_report(folders, folders[0])
    assert error.value.exit_code == 2
    assert sorted(path.name for path in folders[0].iterdir()) == ["results.json"]


def broken(change: str) -> str:
    document: dict[str, Any] = results(engines=("mpi",), ranks=(1,), repeats=1).model_dump(mode="json", by_alias=True)
    point = document["results"][0]
    if change == "schema":
        document["schema"] = 2
    elif change == "rate":
        point["images_per_s"]["samples"] = [0.0]
    elif change == "endless":
        point["step_seconds"]["median"] = float("nan")
    elif change == "empty":
        document["results"] = []
    elif change == "twice":
        document["results"] = [point, point]
    elif change == "no ranks":
        point["repetitions"][0]["ranks"] = []
    text = json.dumps(document)
    return text[: len(text) // 2] if change == "torn" else text


@pytest.mark.parametrize("change", ["schema", "torn", "rate", "endless", "empty", "twice", "no ranks"])
def test_unusable_records_are_refused_and_nothing_is_written(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "results.json").write_text(broken(change))
    with pytest.raises(RecordError) as error:
        write_report([folder], tmp_path / "out")
    assert str(folder) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_missing_records_are_told_apart_from_a_training_run(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no folder"):
        write_report([tmp_path / "nowhere"], tmp_path / "out")
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(RecordError, match=r"no file .*results\.json"):
        write_report([run], tmp_path / "out")
    (run / "config.yaml").touch()
    (run / "events.jsonl").touch()
    with pytest.raises(RecordError, match="training run") as error:
        write_report([run], tmp_path / "out")
    assert "hpcdl bench scaling" in error.value.fix
    with pytest.raises(HpcdlError):
        write_report([], tmp_path / "out")


def test_an_out_that_cannot_be_written_is_bad_usage(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", results(engines=("mpi",), ranks=(1, 2)))
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(HpcdlError) as error:
            write_report([folder], out)
        assert error.value.exit_code == 2


def test_bars_are_on_one_scale_within_a_recipe() -> None:
    bars = page.bars(group(results(engines=("mpi",)).results))
    totals = [sum(width for _, width in bar.parts) for bar in bars]
    assert max(totals) == pytest.approx(100.0)
    assert totals == sorted(totals)


def test_long_names_stay_within_the_figure() -> None:
    study = results(engines=("mpi", "an-engine-" + "x" * 90), recipe="long " * 60, ranks=(1, 2))
    for note in (True, False):
        figure = figures.throughput(group(study.results), note=note)
        figure.draw_without_rendering()
        shown = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
        assert any("long long" in text.get_text() for text in shown)
        assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in shown)
