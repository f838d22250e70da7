"""hpcdl report --compare: verdicts, regressions, and what is told where two benchmarks are not alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scaling_records import results, save
from typer.testing import CliRunner

from hpcdl.analysis.stats import ratio_interval
from hpcdl.cli.app import app
from hpcdl.errors import HpcdlError, RecordError
from hpcdl.records import Results
from hpcdl.report.compare import compare


def study(compute: float, *, ranks: tuple[int, ...] = (1, 2), repeats: int = 5) -> Results:
    return results(engines=("mpi",), ranks=ranks, repeats=repeats, compute=compute, loss=0.0)


def test_verdicts_stand_only_where_intervals_part() -> None:
    # Repetitions of the builder lie within 4 % of each other.
    for compute, verdict in (
        (0.1, "not distinguishable"),
        (0.102, "not distinguishable"),
        (0.11, "slower"),
        (0.08, "faster"),
    ):
        (one, _) = compare(study(0.1), study(compute), ("a", "b")).changes
        assert one.verdict == verdict
        assert one.ratio == pytest.approx(0.1 / compute)
        low, high = one.interval or (0.0, 0.0)
        assert low <= one.ratio <= high
    rates = [m.results[0].images_per_s.samples for m in (study(0.11), study(0.1))]
    assert compare(study(0.1), study(0.11), ("a", "b")).changes[0].interval == ratio_interval(*rates)


def test_a_regression_is_beyond_noise_and_beyond_the_limit() -> None:
    found = compare(study(0.1), study(0.11), ("a", "b"))
    assert len(found.regressions(0.05)) == 2  # 1 - 1/1.1 = 9.1 %
    assert not found.regressions(0.10)
    assert not compare(study(0.1), study(0.102), ("a", "b")).regressions(0.0)
    assert not compare(study(0.1, repeats=1), study(0.2), ("a", "b")).regressions(0.0)


def test_what_only_one_has_and_what_differs_is_told() -> None:
    other = study(0.1, ranks=(2, 4))
    other = other.model_copy(
        update={
            "environment": {**other.environment, "host": "n2", "versions": {"python": "3.12"}},
            "config": {**other.config, "name": "x"},
            "results": [m.model_copy(update={"threads": 2}) for m in other.results],
        }
    )
    found = compare(study(0.1), other, ("a", "b"))
    assert [m.ranks for m in found.before_only] == [1] and [m.ranks for m in found.after_only] == [4]
    words = " | ".join(found.notes)
    for part in (
        "another machine: host n1 and n2",
        "other software: versions.python 3.11 and 3.12",
        "another recipe: name",
    ):
        assert part in words
    assert "2 ranks: threads 1 and 2" in words


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(RecordError, match="without a point in common"):
        compare(study(0.1, ranks=(1,)), study(0.1, ranks=(2,)), ("a", "b"))


def test_the_command_fails_on_a_regression_and_writes_what_it_found(tmp_path: Path) -> None:
    a, b = (str(save(tmp_path / name, study(compute))) for name, compute in (("a", 0.1), ("b", 0.11)))
    run = CliRunner().invoke
    done = run(app, ["report", "--compare", a, b])
    assert done.exit_code == 0
    assert "0.909 [" in done.stdout and "slower" in done.stdout
    done = run(app, ["report", "--compare", a, b, "--fail-on-regression", "5%", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "regression: cifar10-cnn, mpi, weak, synthetic, 2 ranks fell by 9.1 %" in done.stdout
    assert "slower" in (tmp_path / "out" / "compare.md").read_text()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["results.json"]
    done = run(app, ["report", "--compare", b, a, "--fail-on-regression", "5%", "--json"])
    assert done.exit_code == 0
    answer = json.loads(done.stdout)
    assert [(change["ranks"], change["verdict"], change["regression"]) for change in answer["changes"]] == [
        (1, "faster", False),
        (2, "faster", False),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--compare", "{a}"],
        ["{a}", "--fail-on-regression", "5%"],
        ["--compare", "{a}", "{a}", "--fail-on-regression", "5"],
    ],
)
def test_bad_usage_is_told(tmp_path: Path, arguments: list[str]) -> None:
    a = str(save(tmp_path / "a", study(0.1)))
    done = CliRunner().invoke(app, ["report", *(each.format(a=a) for each in arguments)])
    assert isinstance(done.exception, HpcdlError) and done.exception.exit_code == 2
