"""What hosts are asked and how their answers are judged; the ssh of these tests is a shell on this machine."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdl.answer import NO_ANSWER, Answer
from hpcdl.errors import ConfigError, HpcdlError, LaunchError
from hpcdl.launch import hostcheck
from hpcdl.launch.hostcheck import check_hosts, differences, fetch, is_here, open_folders, read_answer, remarks
from hpcdl.launch.hostprobe import MARK, Report, answer, collect, holds, look
from hpcdl.launch.hosts import Host, Listed

HERE = Report("me", 4, True, {"python": "3.11.2", "keras": "3.15.1"}, {"data": "3 files"})
PATHS = {"data": Path("/x")}
# As ssh does: the words after the host are one line for a shell.
FAR = """#!/bin/sh
echo "welcome to $1"
shift
exec sh -c "$*"
"""


@pytest.fixture
def far(tmp_path: Path) -> Listed:
    """A host that is this machine, reached by what looks like ssh."""
    ssh = tmp_path / "ssh"
    ssh.write_text(FAR, encoding="ascii")
    ssh.chmod(0o755)
    return Listed((Host("far", 1),), ssh=(str(ssh),), env={"HPCDL_X": 'it\'s $(a) "b"', **_search()})


def _search() -> dict[str, str]:
    return {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}


def test_hosts_that_are_alike_are_taken() -> None:
    assert differences("b", HERE, HERE, PATHS) == [] and remarks("b", HERE, HERE) == []


def test_what_differs_is_told_with_the_hosts_name() -> None:
    there = replace(HERE, versions={"python": "3.11.2", "keras": "3.10.0"}, paths={"data": None})
    assert differences("b", there, HERE, PATHS) == ["keras 3.10.0 on b, 3.15.1 here", "data at /x missing on b"]
    there = replace(HERE, versions={"keras": "3.15.1"}, paths={"data": "2 files"})
    assert differences("b", there, HERE, PATHS) == [
        "python none on b, 3.11.2 here",
        "data at /x: 2 files on b, 3 files here",
    ]


def test_other_processors_are_remarked() -> None:
    cores, slow = remarks("b", replace(HERE, cores=2, bfloat16=False), HERE)
    assert "b has 2 cores, 4 here" in cores and "only this machine has" in slow
    assert "only b has" in remarks("b", HERE, replace(HERE, bfloat16=False))[0]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Answer(255, "", "a note\nssh: connect to host b port 22: Connection refused\n"), "Connection refused"),
        (Answer(255, "", ""), "host b: ssh fails"),
        (Answer(NO_ANSWER, "", "ssh: no answer in 120 s"), "no answer in 120 s"),
        (Answer(127, "", "sh: 1: /x/python: not found"), "host b: sh: 1: /x/python: not found"),
        (Answer(1, "", "ModuleNotFoundError: No module named 'hpcdl'"), "No module named 'hpcdl'"),
        (Answer(0, "motd\n", ""), "host b: code 0"),
        (Answer(0, MARK + json.dumps({"error": ["full", "room", "delete"]}), ""), "host b: full"),
    ],
)
def test_a_host_that_cannot_answer_is_named(said: Answer, told: str) -> None:
    with pytest.raises(LaunchError, match="host b: ") as caught:
        read_answer("b", said, "ssh b true")
    assert told in caught.value.received
    if said.code == 255:
        assert "ssh b true" in caught.value.fix


def test_an_answer_is_found_among_other_lines() -> None:
    assert read_answer("b", Answer(0, f'motd\n{MARK}{{"a": 1}}\nbye\n', "warning"), "") == {"a": 1}


def test_this_machine_is_known_by_its_names_and_addresses() -> None:
    assert is_here("localhost") and is_here(socket.gethostname()) and is_here("127.0.0.1")
    assert not is_here("203.0.113.1") and not is_here("no-such-host.invalid")


def test_what_a_path_holds_is_names_and_sizes(tmp_path: Path) -> None:
    assert holds(tmp_path / "nothing") is None
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"123")
    (tmp_path / "a").write_bytes(b"1")
    first = holds(tmp_path)
    assert first and first.startswith("2 files")
    (tmp_path / "b" / "x").write_bytes(b"456")
    assert holds(tmp_path) == first
    (tmp_path / "b" / "x").write_bytes(b"4567")
    assert holds(tmp_path) != first
    assert str(holds(tmp_path / "a")).startswith("1 file,")
    (tmp_path / "c").symlink_to("nothing")
    assert holds(tmp_path) is not None


def test_a_question_passes_a_shell_unharmed(tmp_path: Path, far: Listed) -> None:
    data = tmp_path / """a 'b' "c" $(d) ; é"""
    data.mkdir()
    assert check_hosts(far, {"data": data}, os.environ) == []
    with pytest.raises(LaunchError, match="missing on far"):
        check_hosts(far, {"data": tmp_path / "none"}, os.environ)


def test_one_machine_under_two_names_is_refused(far: Listed) -> None:
    with pytest.raises(ConfigError, match="far and again, which both call themselves"):
        check_hosts(replace(far, hosts=(Host("far", 1), Host("again", 1))), {}, os.environ)


def test_all_hosts_that_fail_are_told(tmp_path: Path, far: Listed) -> None:
    Path(far.ssh[0]).write_text("#!/bin/sh\necho no way to $1 >&2; exit 255\n", encoding="ascii")
    with pytest.raises(LaunchError, match="host far: no way to far; host b: no way to b"):
        check_hosts(replace(far, hosts=(Host("far", 1), Host("b", 1))), {}, os.environ)


def test_a_folder_that_hosts_share_is_left_as_it_is(tmp_path: Path, far: Listed) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("name: a\n", encoding="utf-8")
    assert open_folders(far, folder, ["config.yaml"], os.environ, overwrite=False) == ()
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_rank_0_must_write_where_the_launcher_reads(
    tmp_path: Path, far: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask_host(name: str, question: dict[str, object]) -> dict[str, object]:
        asked.append(f"{name} {question['ask']}")
        return {"shared": False}

    monkeypatch.setattr(hostcheck, "asker", lambda where, environ: ask_host)
    with pytest.raises(ConfigError, match="begin with far"):
        open_folders(far, tmp_path, [], os.environ, overwrite=False)
    assert asked == ["far see"]
    first = replace(far, hosts=(Host("localhost", 1), Host("far", 1)))
    assert open_folders(first, tmp_path, [], os.environ, overwrite=False) == ("far",)
    assert asked == ["far see", "far see", "far make"]


def test_a_folder_of_its_own_is_made_once_and_fetched(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    question = {"ask": "make", "folder": str(folder), "files": {"config.yaml": "a\n", "launch.json": "{}"}}
    answer({**question, "overwrite": False})
    assert (folder / "config.yaml").read_text(encoding="utf-8") == "a\n" and (folder / "ranks").is_dir()
    with pytest.raises(HpcdlError, match="earlier run"):
        answer({**question, "overwrite": False})
    (folder / "ranks" / "1.log").write_bytes(b"old")
    answer({**question, "overwrite": True})
    (folder / "ranks" / "1.log").write_bytes(b"new \xff")
    assert collect(folder) == {"1.log": "new \ufffd"}


def test_a_host_cannot_write_outside_of_the_run(tmp_path: Path, far: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"../../1.log": "a", "2.log": "b"}
    monkeypatch.setattr(hostcheck, "asker", lambda where, environ: lambda name, question: {"files": files})
    (tmp_path / "ranks").mkdir()
    fetch(far, ["far"], tmp_path, os.environ)
    assert {path.name for path in (tmp_path / "ranks").iterdir()} == {"1.log", "2.log"}


def test_a_host_tells_of_itself() -> None:
    report = look({})
    assert report.host == socket.gethostname() and report.cores > 0
    assert {"python", "keras", "tensorflow", "hpcdl's files"} <= set(report.versions)
