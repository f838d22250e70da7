"""The report's files, read back by other parsers, and what it says about good and bad records."""

from __future__ import annotations

import csv
import io
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.text import Text
from scaling_records import results, save, shown

from hpcdl.errors import HpcdlError
from hpcdl.launch.folder import BENCH
from hpcdl.records import read_results
from hpcdl.report import canvas, csvfile, figures, page
from hpcdl.report.gallery import gallery
from hpcdl.report.markdown import markdown
from hpcdl.report.merge import Source, merge
from hpcdl.report.series import group
from hpcdl.report.summary import summary
from hpcdl.report.write import write_report

PICTURES = ("throughput", "speedup", "efficiency", "steps", "imbalance", "cost", "forecast")
FILES = sorted(
    [f"{picture}.{kind}" for picture in PICTURES for kind in ("png", "svg")]
    + ["mlperf.log", "report.html", "report.md", "report.tex", "results.csv", "results.json", "results.schema.json"]
)
HOSTILE = "<script>alert(1)</script>|`_$\\frac{ [x](y)"


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


def test_all_files_are_there_and_nothing_else(report: Path) -> None:
    assert sorted(path.name for path in report.iterdir()) == FILES


def test_overwriting_a_benchmark_knows_every_file_of_a_report() -> None:
    extra = {f"{name}.{kind}" for name in ("inputs", "accuracy", "bandwidth") for kind in ("png", "svg")}
    assert {*FILES, *extra} <= set(BENCH)


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
    for name in (f"{picture}.png" for picture in PICTURES):
        content = (report / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        assert width == round(canvas.WIDTH * canvas.DPI)
        assert height > 300


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


def test_markdown_table_has_a_row_a_measurement(report: Path) -> None:
    lines = (report / "report.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| cifar10-cnn")]
    assert len(rows) == 18
    assert len({row.count(" | ") for row in rows[:6]}) == 1
    assert "![Throughput against ranks](throughput.png)" in lines


def test_one_rank_count_claims_no_speedup() -> None:
    study = results(engines=("mpi",), ranks=(2,))
    told = " ".join(summary(group(study.results)))
    assert "Only one rank count was measured" in told
    assert "times the base" not in told
    content = shown(study)
    html = page.html(content)
    assert "Speedup against ranks: not shown, for it needs two rank counts" in html
    assert "one rank count" in content.tables()[0].rows[0]
    assert {each.file for each in gallery(content) if each.draw} == {"throughput", "steps", "imbalance", "cost"}


def test_one_repetition_has_no_interval() -> None:
    study = results(engines=("mpi",), repeats=1)
    series = group(study.results)
    assert "single repetition gives no interval" in " ".join(summary(series))
    told = markdown(shown(study))
    assert "1 [no interval]" in told
    assert " to 640]" not in told
    assert "nothing can be told apart from chance" in told


def test_hostile_words_are_shown_and_not_run() -> None:
    study = results(engines=(HOSTILE,), recipe=HOSTILE, ranks=(1, 2), sources=["_" + HOSTILE])
    study = study.model_copy(update={"environment": {HOSTILE: HOSTILE}, "command": [HOSTILE], "created": HOSTILE})
    content = shown(study)
    html = page.html(content)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "script" not in Page(html).tags
    table = [line for line in markdown(content).splitlines() if line.startswith("| ")]
    assert not any("<script" in line for line in table)
    header, rows = table[0], [line for line in table if "&lt;script" in line]
    assert len(re.split(r"(?<!\\)\|", rows[0])) == len(header.split("|"))
    assert next(csv.DictReader(io.StringIO(csvfile.csv_text(content.series))))["recipe"] == HOSTILE


def test_same_records_give_the_same_bytes(report: Path) -> None:
    series = group(read_results(report / "results.json").results)
    assert canvas.png(figures.throughput(series)) == (report / "throughput.png").read_bytes()
    assert canvas.svg(figures.efficiency(series)) == canvas.svg(figures.efficiency(series))


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
