"""Records: whole or absent, line by line, one version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcdl import records
from hpcdl.cli.progress import Tail
from hpcdl.errors import RecordError


def test_a_tail_waits_for_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    records.append_event(path, {"event": "a"})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"event":')
    assert tail.read() == [{"event": "a"}]
    assert tail.read() == []
    with path.open("a", encoding="utf-8") as file:
        file.write(' "b"}\n')
    assert tail.read() == [{"event": "b"}]


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(ValueError):
        records.write_json(path, {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []
    records.write_json(path, {"loss": 1.0})
    with pytest.raises(ValueError):
        records.write_json(path, {"loss": float("inf")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"loss": 1.0}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"schema": 1, "results": []}', "schema 1"),
        ('{"results": []}', "schema None"),
        ("[1]", "schema None"),
        ('{"schema": 1', "not JSON"),
        ('{"schema": 2, "results": []}', "environment"),
        ('{"schema": 2, "results": [], "environment": {}, "command": [], "created": "", "config": {}, "x": 1}', "x"),
    ],
)
def test_results_of_another_kind_are_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        records.read_results(path)
    assert told in caught.value.received


def test_missing_results_are_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no file"):
        records.read_results(tmp_path / "results.json")
