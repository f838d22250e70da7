"""The report's further files, and the figures that only some records carry."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from scaling_records import results, save, shown, sums

from hpcdl.report import figures, more_figures, page, steps_figure
from hpcdl.report.gallery import gallery
from hpcdl.report.latex import escape, latex
from hpcdl.report.machines import notes
from hpcdl.report.mllog import PREFIX, mllog
from hpcdl.report.outlook import Outlook
from hpcdl.report.summary import preferred
from hpcdl.report.theme import DARK, LIGHT, darkened
from hpcdl.report.write import schema, write_report


def test_the_schema_is_the_records_and_refuses_others() -> None:
    document: dict[str, Any] = results(accuracy=True).model_dump(mode="json", by_alias=True)
    found = json.loads(schema())
    jsonschema.Draft202012Validator.check_schema(found)
    jsonschema.validate(document, found)
    document["results"][0]["ranks"] = "two"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, found)


def test_latex_rows_have_as_many_cells_as_columns_and_escape_what_is_special() -> None:
    assert escape("50 % of a_b & {c} \\d $e #f ~g ^h\n[i]") == (
        r"50 \% of a\_b \& \{c\} \textbackslash{}d \$e \#f \textasciitilde{}g \textasciicircum{}h {[}i{]}"
    )
    text = latex(shown(results(recipe="a_b & 100 %", accuracy=True)).tables())
    assert r"\shortstack[r]{images/s\\a rank}" in text, "titles on one line make a wide table"
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 5
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        for row in re.findall(r"^(.*) \\\\$", body, re.MULTILINE):
            assert len(re.split(r"(?<!\\)&", row)) == len(columns)


def test_mlperf_lines_are_json_with_its_keys_and_times() -> None:
    content = shown(results(engines=("mpi",), ranks=(1, 2), sources=["real"], repeats=2, accuracy=True))
    lines = mllog(content.results, content.work).splitlines()
    assert all(line.startswith(PREFIX) for line in lines)
    events = [json.loads(line.removeprefix(PREFIX)) for line in lines]
    assert {event["event_type"] for event in events} == {"POINT_IN_TIME", "INTERVAL_START", "INTERVAL_END"}
    keys = [event["key"] for event in events]
    assert keys.count("tracked_stats") == 4 and keys.count("run_start") == keys.count("run_stop") == 4
    assert {event["value"] for event in events if event["key"] == "train_samples"} == {50_000}
    assert [event["time_ms"] for event in events if event["key"] == "run_stop"] == [600_000, 660_000, 300_000, 330_000]
    assert events[0]["time_ms"] == 1_767_225_600_000  # 2026-01-01 in UTC


def test_an_epoch_is_only_told_where_the_records_tell_its_images() -> None:
    assert shown(results(sources=["real"])).work.images == 50_000
    assert shown(results(sources=["real", "synthetic"])).work.images == 50_000
    assert shown(results(sources=["synthetic"])).work.words == "a million images"
    mixed = results(sources=["real"])
    mixed = mixed.model_copy(update={"results": [*mixed.results, *results(recipe="other").results]})
    assert shown(mixed).work.words == "a million images"
    other = [m.model_copy(update={"epoch_images": 1000}) for m in results(recipe="other", sources=["real"]).results]
    mixed = mixed.model_copy(update={"results": [*results(sources=["real"]).results, *other]})
    assert shown(mixed).work.words == "a million images"


def test_core_hours_count_threads_and_gpu_hours_ranks() -> None:
    rates = shown(results(engines=("mpi",), sources=["real"], cores=8)).tables()[0]
    hours = [row[rates.header.index("core-hours an epoch")] for row in rates.rows]
    # 50,000 images at 64 in 0.102 s on one core; 4 x 64 in 0.16 s x 1.02 on four.
    assert float(hours[0]) == pytest.approx(50_000 * 0.102 / 64 / 3600, rel=1e-2)
    assert float(hours[2]) == pytest.approx(4 * 50_000 * 0.16 * 1.02 / 256 / 3600, rel=1e-2)
    assert "GPU-hours an epoch" in shown(results(sources=["real"], gpu=True)).tables()[0].header


def test_what_the_machine_does_not_tell_is_said_and_never_a_zero() -> None:
    content = shown(results(engines=("mpi",)))
    uses = content.tables()[2]
    assert uses.header[5:] == ["allreduce a step", "CPU % of one core", "memory GiB"]
    assert [row[5] for row in uses.rows] == ["none", "1 MB", "1 MB"]
    html = page.html(content)
    assert "Not measured: energy: no RAPL counter in /sys/class/powercap" in html
    assert "Not measured: GPU: no NVML library" in html
    told = shown(results(engines=("mpi",), gpu=True)).tables()[2]
    # 64 images in 0.102 s at 300 W.
    assert float(told.rows[0][told.header.index("images/J")]) == pytest.approx(64 / 0.102 / 300, rel=5e-3)


def test_real_against_synthetic_images_pairs_points_that_differ_in_nothing_else() -> None:
    content = shown(results(engines=("mpi",), sources=["real", "synthetic"]))
    assert [(pair.read.ranks, pair.synthetic.input) for pair in content.pairs] == [
        (1, "synthetic"),
        (2, "synthetic"),
        (4, "synthetic"),
    ]
    assert content.pairs[0].ratio == pytest.approx(0.101 / 0.1)
    table = next(table for table in content.tables() if "input costs" in table.caption)
    assert table.rows[0][-1] == "not distinguishable"
    assert not shown(results(sources=["real"])).pairs


def test_a_forecast_needs_three_rank_counts_and_leaves_crowded_points_out() -> None:
    assert shown(results(ranks=(1, 2))).outlook == "it needs 3 rank counts of one series"
    assert "had a core for every compute thread" in str(shown(results(cores=1)).outlook)
    found = shown(results(engines=("mpi",), cores=2)).outlook
    assert isinstance(found, Outlook)
    assert [m.ranks for m in found.used] == [1, 2] and [each.ranks for each in found.forecasts] == [1, 2, 4, 8, 16]
    for each in found.forecasts:
        assert each.low <= each.median <= each.high
    figure = more_figures.forecast(found)
    measured = [line for line in figure.axes[0].lines if list(line.get_xdata()) in ([1], [2], [4])]
    assert len([line for line in measured if line.get_marker() == "o"]) == 2


def test_own_times_are_over_the_median_rank() -> None:
    study = results(engines=("mpi",), ranks=(1, 4), loss=0.0, uneven=0.05)
    ratios = steps_figure.own_times(study.results[1].repetitions[0])
    # The last rank computes for the whole step of 0.15 s, the others wait 0.05 s of it.
    assert ratios == pytest.approx([1.0, 1.0, 1.0, 1.5])


def test_time_to_accuracy_tells_what_was_not_reached() -> None:
    content = shown(results(accuracy=True))
    table = next(table for table in content.tables() if table.caption == "Time to accuracy")
    assert table.rows[0][7:9] == ["2 of 3", "630 [600 to 660]"]
    assert table.rows[2][7:10] == ["0 of 3", "not reached", "not reached"]
    assert next(each for each in gallery(content) if each.file == "accuracy").draw


def test_each_figure_is_drawn_or_the_reason_is_told() -> None:
    content = shown(results(engines=("mpi",), ranks=(1,)))
    html = page.html(content)
    for each in gallery(content):
        assert each.draw or f"not shown, for {each.caption}" in html.replace("&#39;", "'")


def test_an_allreduce_benchmark_beside_a_study_adds_its_bandwidth(tmp_path: Path) -> None:
    folders = [save(tmp_path / "a", results(engines=("mpi",), ranks=(1, 2))), save(tmp_path / "s", sums())]
    written = {path.name for path in write_report(folders, tmp_path / "out")}
    assert {"bandwidth.png", "bandwidth.svg", "report.html"} <= written
    told = (tmp_path / "out" / "report.md").read_text().replace("\\", "")
    assert "| 10.0 [9.00 to 11.0] | lost in the noise |" in told and "    hpcdl bench allreduce" in told
    assert "998 MB [998 MB to 998 MB]" in told


def test_other_machines_and_recipes_are_told() -> None:
    one, two = results(engines=("mpi",)), results(engines=("horovod",))
    assert not notes(shown(one, two).sources)
    two = two.model_copy(update={"environment": {**two.environment, "cpu": "B"}, "config": {"name": "y"}})
    words = notes(shown(one, two).sources)
    assert len(words) == 2 and "different machines: cpu none and B" in words[0] and "different recipes" in words[1]
    assert words[0] in page.html(shown(one, two))


def test_the_dark_drawing_has_every_colour_of_the_dark_theme() -> None:
    light = " ".join((LIGHT.paper, LIGHT.ink, LIGHT.grid, LIGHT.shade, *LIGHT.cycle, "#123456")).encode()
    dark = " ".join((DARK.paper, DARK.ink, DARK.grid, DARK.shade, *DARK.cycle, "#123456")).encode()
    assert darkened(light) == dark


def test_points_that_differ_in_nodes_alone_are_not_joined() -> None:
    study = results(engines=("mpi",), ranks=(1, 2), sources=["real"])
    one, two = study.results
    apart = two.model_copy(update={"nodes": 2})
    for points, joined in (([one, two], True), ([one, two, apart], False)):
        content = shown(study.model_copy(update={"results": points}))
        lines = figures.throughput(content.series).axes[0].lines
        through = [line for line in lines if len(line.get_xdata()) == len(points) and line.get_linestyle() == "-"]
        assert bool(through) == joined


def test_the_headline_is_of_images_that_were_read() -> None:
    content = shown(results(engines=("mpi",), sources=["synthetic", "real"]))
    assert [one.input for one in preferred(content.series)] == ["real", "synthetic"]
