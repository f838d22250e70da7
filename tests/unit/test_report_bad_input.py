"""Records that no report can be made of: what is said of each, and that nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scaling_records import results, save

from hpcdl.errors import HpcdlError, RecordError
from hpcdl.report.write import write_report

Change = Callable[[dict[str, Any]], object]


def first(document: dict[str, Any]) -> dict[str, Any]:
    return dict.__getitem__(document, "results")[1]


def rank(document: dict[str, Any]) -> dict[str, Any]:
    return first(document)["repetitions"][0]["ranks"][0]


CHANGES: dict[str, tuple[Change, str]] = {
    "another version": (lambda d: d.update(schema=1), "schema 1"),
    "no measurement": (lambda d: d.update(results=[]), "without a measurement"),
    "a field of tomorrow": (lambda d: d.update(tomorrow=1), "tomorrow"),
    "text for a figure": (lambda d: first(d).update(ranks="two"), "results.1.ranks"),
    "a rate of zero": (lambda d: first(d)["images_per_s"].update(samples=[0.0, 1.0, 1.0]), "a rate of 0"),
    "a rate without end": (lambda d: first(d)["step_seconds"].update(median=float("nan")), "nan"),
    "a point twice": (lambda d: d["results"].append(first(d)), "twice"),
    "no ranks": (lambda d: first(d)["repetitions"][0].update(ranks=[]), "of 0 ranks"),
    "a repetition missing": (lambda d: first(d)["repetitions"].pop(), "3 repetitions, and 2 repetitions"),
    "a negative wait": (lambda d: rank(d).update(input=[-0.001] * 3), "input time of rank 0 of -0.001 s"),
    "a step of no time": (lambda d: rank(d).update(step=[0.0] * 3), "a step time of rank 0 of 0 s"),
    "steps that are torn": (lambda d: rank(d)["compute"].pop(), "2 compute"),
    "a rate that its steps do not give": (lambda d: first(d)["repetitions"][0].update(images=1), "1 images in"),
    "a median outside of its samples": (lambda d: first(d)["images_per_s"].update(median=1e6), "1e+06 in"),
    "a speedup that the rates do not give": (lambda d: first(d).update(speedup=1.99), "a speedup of 1.99"),
    "a base that is not there": (lambda d: d["results"].pop(0), "a speedup"),
    "two processors in one study": (
        lambda d: d.update(environment={"nodes-1": {"cpu": "A"}, "nodes-2": {"cpu": "B"}}),
        "different processors: A (nodes-1), B (nodes-2)",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_unusable_records_are_refused_and_nothing_is_written(tmp_path: Path, change: str) -> None:
    document = results(engines=("mpi",), ranks=(1, 2), repeats=3).model_dump(mode="json", by_alias=True)
    spoil, told = CHANGES[change]
    spoil(document)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "results.json").write_text(json.dumps(document))
    with pytest.raises(RecordError) as error:
        write_report([tmp_path / "a"], tmp_path / "out")
    assert told in error.value.received
    assert str(tmp_path / "a") in error.value.received
    assert error.value.fix
    assert not (tmp_path / "out").exists()


def test_torn_records_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", results(engines=("mpi",), ranks=(1,), repeats=1))
    whole = (folder / "results.json").read_text()
    (folder / "results.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match="not JSON"):
        write_report([folder], tmp_path / "out")
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
