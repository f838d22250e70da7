"""A file system that refuses: lines wait, a person hears of it now and then, and nothing is torn."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hpcdl import records
from hpcdl.cli.lossy import Lossy, lossy
from hpcdl.cli.progress import Display, Tail
from hpcdl.errors import CheckpointError
from hpcdl.training.journal import Journal, complain
from hpcdl.training.timing import HEADER, StepTimes
from hpcdl.training.unwritten import Unwritten

SECONDS = (1.0, 0.0, 0.5, 0.25, 0.75)
REFUSALS = [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EIO, errno.ESTALE]


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Writes fail with this error after half of what they were given; None: they no longer do."""
    real = os.write

    def switch(number: int | None) -> None:
        written: list[int] = []

        def write(file: int, data: bytes) -> int:
            if number is None:
                return real(file, data)
            if written:
                raise OSError(number, os.strerror(number))
            written.append(1)
            return real(file, data[: len(data) // 2])

        def each(file: int, data: bytes) -> int:
            try:
                return write(file, data)
            except OSError:
                written.clear()
                raise

        monkeypatch.setattr(records.os, "write", each)

    return switch


@pytest.mark.parametrize("number", REFUSALS)
def test_lines_wait_until_the_file_takes_them(
    tmp_path: Path, refuse: Callable[[int | None], None], number: int
) -> None:
    told: list[str] = []
    clock = Clock()
    journal = Journal(tmp_path / "a", tell=told.append, clock=clock)

    def say(line: str) -> None:
        journal.add(line)
        journal.flush()

    say("1\n")
    refuse(number)
    for line in "234":
        say(f"{line}\n")
    assert (tmp_path / "a").read_text() == "1\n" and journal.lost == 3
    assert len(told) == 1 and os.strerror(number) in told[0] and "training goes on" in told[0]
    clock.now += 59
    say("5\n")
    assert len(told) == 1
    clock.now += 1
    say("6\n")
    assert len(told) == 2 and "5 lines wait" in told[1]
    refuse(None)
    say("7\n")
    assert (tmp_path / "a").read_text() == "1\n2\n3\n4\n5\n6\n7\n"
    assert journal.lost == 0 and journal.failure is None and "written again" in told[2]


def test_a_folder_that_vanished_is_not_made_and_lines_go_on_where_it_is_back(tmp_path: Path) -> None:
    told: list[str] = []
    journal = Journal(tmp_path / "b" / "a.csv", header="head\n", tell=told.append)
    journal.add("1\n")
    journal.flush()
    assert not (tmp_path / "b").exists() and len(told) == 1 and journal.lost == 1
    (tmp_path / "b").mkdir()
    journal.flush()
    assert (tmp_path / "b" / "a.csv").read_text() == "head\n1\n"


def test_too_many_lines_are_lost_oldest_first_and_counted(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "b" / "a", tell=lambda told: None, lines=3)
    for line in "12345":
        journal.add(f"{line}\n")
        journal.flush()
    assert journal.lost == 5
    (tmp_path / "b").mkdir()
    journal.flush()
    assert (tmp_path / "b" / "a").read_text() == "3\n4\n5\n" and journal.lost == 2


def test_an_error_that_is_no_file_systems_is_raised(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a")
    journal.add(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        journal.flush()


def test_steps_that_cannot_be_written_do_not_end_training(
    tmp_path: Path, refuse: Callable[[int | None], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "0.steps.csv"
    with StepTimes(path) as times:
        times.add(0, 4, *SECONDS)
        refuse(errno.ENOSPC)
        times.add(1, 4, *SECONDS)
    assert times.lost == 2 and path.read_text() == HEADER
    assert str(path) in capsys.readouterr().err
    refuse(None)
    with StepTimes(path, go_on=True) as times:
        times.add(2, 4, *SECONDS)
    assert path.read_text() == HEADER + "2,4,1.0000000,0.0000000,0.5000000,0.2500000,0.7500000\n" and times.lost == 0
    with StepTimes(tmp_path / "gone" / "0.steps.csv") as times:
        times.add(0, 4, *SECONDS)
    assert times.lost == 1


def test_steps_of_another_version_are_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "0.steps.csv"
    path.write_text("step,images,step_seconds\n0,4,1.0\n")
    with StepTimes(path, go_on=True) as times:
        times.add(1, 4, *SECONDS)
    assert path.read_text().startswith(HEADER) and len(path.read_text().splitlines()) == 2
    assert (tmp_path / "0.steps.old.csv").read_text().endswith("0,4,1.0\n")
    assert "another version" in capsys.readouterr().err


def test_a_complaint_on_a_full_disk_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", full)
    complain("the disk is full")
    with pytest.raises(OSError):
        full.close()
    with Path("/dev/full").open("w", encoding="utf-8") as empty:
        print("x" * 100_000, file=lossy(empty), flush=True)


def test_a_reader_that_has_gone_is_an_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        Lossy(writing, "wb").write(b"x")


def test_after_a_torn_line_an_event_has_a_line_of_its_own_and_readers_say_so(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    path.write_text('{"event": "start"}\n{"event": "prog')
    notes: list[str] = []
    assert list(records.latest_events(path, notes.append)) == ["start"] and "1 torn line" in notes[0]
    records.append_event(path, {"event": "restart"})
    assert path.read_text().splitlines()[1:] == ['{"event": "prog', '{"event": "restart"}']
    notes.clear()
    assert list(records.latest_events(path, notes.append)) == ["start", "restart"] and len(notes) == 1
    with path.open("a") as file:
        file.write('7\n{"half": 1}\n\n')
    start, torn, restart = tail.read()
    assert (start["event"], torn["event"], restart["event"]) == ("start", "torn", "restart")
    assert str(path) in torn["note"] and tail.read() == []
    with path.open("a") as file:
        file.write('{"event": "en')
    assert tail.read() == [] and tail.read(last=True) == []  # told before


def test_a_tail_tells_of_a_last_line_that_stays_torn_and_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    path.write_text('{"event": "start"}\n{"event": "en')
    assert [event["event"] for event in tail.read()] == ["start"]
    assert [event["event"] for event in tail.read(last=True)] == ["torn"]
    path.unlink()
    assert tail.read() == []
    records.append_event(path, {"event": "x"})
    assert tail.read() == [{"event": "x"}]


def test_what_befalls_checkpoints_is_shown_once_a_minute() -> None:
    shown, clock = io.StringIO(), Clock()
    missing: dict[str, Any] = {"event": "no_checkpoint", "update": 4, "error": "No space left on device"}
    with Display(Console(file=shown, width=200), clock) as display:
        for seconds in (0, 30, 30):
            clock.now += seconds
            display.show({**missing, "update": missing["update"] + seconds})
        display.show({"event": "invalid_checkpoint", "name": "update-7.invalid", "why": ["a is missing", "b"]})
        display.show({"event": "restart", "count": 2, "from_update": 3, "checkpoint": "update-00000003"})
        display.show({"event": "torn", "note": "a note"})
    lines = shown.getvalue().splitlines()
    assert [line for line in lines if "no checkpoint at" in line] == [
        "no checkpoint at update 4: No space left on device; training goes on",
        "no checkpoint at update 34: No space left on device; training goes on",
    ]
    assert "checkpoint update-7.invalid is not whole and was set aside: a is missing; b" in lines
    assert "start 2 after the first, from update 3 of checkpoint update-00000003" in lines and "a note" in lines


def test_everything_is_tried_before_what_is_missing_is_told(tmp_path: Path) -> None:
    end, tried = Unwritten(tmp_path), []

    def full(name: str) -> None:
        tried.append(name)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("model.keras", "summary.json"):
        end.attempt(name, lambda name=name: full(name))  # type: ignore[misc]
    end.add("the last checkpoint", None)
    end.attempt("c.json", lambda: (tmp_path / "c.json").write_text(json.dumps({})))
    with pytest.raises(CheckpointError) as caught:
        end.check()
    assert tried == ["model.keras", "summary.json"] and caught.value.exit_code == 1
    assert "model.keras (No space left on device); summary.json" in caught.value.received
    assert "checkpoint" not in caught.value.received and "c.json" not in caught.value.received
    with pytest.raises(TypeError):
        end.attempt("a bug", lambda: int([]))  # type: ignore[call-overload]
