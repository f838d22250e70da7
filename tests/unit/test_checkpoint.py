"""A checkpoint is complete or absent, and no damaged one passes for whole."""

from __future__ import annotations

import errno
import json
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hpcdl import checkpoint
from hpcdl.checkpoint import MANIFEST, Checkpoint, chosen, newest, pick, problems, prune, write
from hpcdl.errors import CheckpointError

FILES = {"weights.bin": bytes(range(256)) * 3, "state.json": b'{"a": 1}', "empty": b""}


def fill(place: Path) -> None:
    for name, data in FILES.items():
        (place / name).write_bytes(data)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_valid_and_found(tmp_path: Path) -> None:
    write(tmp_path / "c", 7, fill)
    last = write(tmp_path / "c", 12, fill, score=0.5)
    assert last == Checkpoint(tmp_path / "c" / "update-00000012", 12, 0.5)
    assert newest(tmp_path / "c") == (last, {}) and chosen(last.path) == last
    assert names(last.path) == sorted([*FILES, MANIFEST])
    assert newest(tmp_path / "none") == (None, {})


def test_a_file_cut_at_any_length_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, 1, fill).path
    for file in [path / MANIFEST, *(path / name for name in FILES)]:
        whole = file.read_bytes()
        for length in range(len(whole)):
            file.write_bytes(whole[:length])
            assert problems(path), f"{file.name} cut to {length} bytes"
        file.write_bytes(whole)
    assert not problems(path)


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, 1, fill, score=0.25).path
    dice = random.Random(0)
    places = [(file, place) for file in path.iterdir() for place in range(file.stat().st_size)]
    for file, place in dice.choices(places, k=1000):
        whole = file.read_bytes()
        changed = bytearray(whole)
        changed[place] ^= 1 << dice.randrange(8)
        file.write_bytes(changed)
        assert problems(path), f"{file.name}, byte {place}"
        file.write_bytes(whole)
    assert not problems(path)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda path: (path / "empty").unlink(), "empty is missing"),
        (lambda path: (path / MANIFEST).unlink(), "cannot be read"),
        (lambda path: (path / MANIFEST).write_text("[]"), "cannot be read"),
        (lambda path: (path / "state.json").write_bytes(b'{"a": 2}'), "another SHA-256"),
        (lambda path: (path / "state.json").write_bytes(b'{"a": 1} '), "9 bytes, and not 8"),
        (lambda path: path.rename(path.with_name("update-00000003")), "is of update 2"),
    ],
)
def test_an_invalid_one_is_named_set_aside_and_the_one_before_is_taken(
    tmp_path: Path, harm: Callable[[Path], object], told: str
) -> None:
    good = write(tmp_path, 1, fill)
    bad = write(tmp_path, 2, fill)
    harm(bad.path)
    found, refused = newest(tmp_path)
    assert found == good
    [(aside, why)] = refused.items()
    assert told in why[0] and aside.name.endswith(".invalid") and aside.is_dir()
    with pytest.raises(CheckpointError, match="whole checkpoint"):
        chosen(aside)
    write(tmp_path, 2, fill)  # its name is free again
    assert newest(tmp_path)[1] == {}


def test_a_manifest_of_another_schema_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SCHEMA", 2)
    path = write(tmp_path, 1, fill).path
    monkeypatch.undo()
    assert problems(path) == ["manifest.json has schema 2, and this hpcdl reads 1"]


def test_a_disk_that_fills_leaves_nothing_and_harms_nothing(tmp_path: Path) -> None:
    def full(place: Path) -> None:
        (place / "weights.bin").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    good = write(tmp_path, 1, fill)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, 2, full)
    assert names(tmp_path) == [good.path.name] and newest(tmp_path) == (good, {})


def test_a_process_killed_at_any_point_leaves_a_whole_one_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before each call that changes the file system, without a chance to clean up."""
    write(tmp_path, 1, fill)
    for stop in range(1, 9):
        folder = tmp_path / f"copy{stop}"
        shutil.copytree(tmp_path / "update-00000001", folder / "update-00000001")
        calls = iter(range(1, 100))

        def killed(path: Path, calls: object = calls, stop: int = stop) -> None:
            if next(calls) == stop:  # type: ignore[call-overload]
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(checkpoint, "_sync", killed)
            patched.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)
            with suppress(KeyboardInterrupt):
                write(folder, 2, fill)
        found, refused = newest(folder)
        assert found is not None and not refused
        prune(folder, 3)
        assert [name for name in names(folder) if name.startswith(".")] == []


def test_the_newest_or_the_best_is_picked_and_nothing_renamed(tmp_path: Path) -> None:
    for update, score in ((1, 0.1), (2, 0.9), (3, 0.5), (4, None)):
        write(tmp_path, update, fill, score)
    (tmp_path / "update-00000004" / "empty").unlink()
    assert pick(tmp_path, "newest").update == 3 and pick(tmp_path, "best").update == 2
    assert pick(tmp_path, "update-00000001") == pick(tmp_path, str(tmp_path / "update-00000001"))
    assert len(names(tmp_path)) == 4
    for which in ("update-00000004", "update-00000009", "nowhere"):
        with pytest.raises(CheckpointError):
            pick(tmp_path, which)
    with pytest.raises(CheckpointError, match="without a whole"):
        pick(tmp_path / "none", "newest")


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    for update, score in ((1, 0.1), (2, 0.9), (3, 0.5), (4, None), (5, 0.6), (6, None)):
        write(tmp_path, update, fill, score)
    prune(tmp_path, 2)
    assert names(tmp_path) == ["update-00000002", "update-00000005", "update-00000006"]
    prune(tmp_path, 1)
    assert names(tmp_path) == ["update-00000002", "update-00000006"]


def test_the_same_update_is_written_once_and_again_where_it_was_harmed(tmp_path: Path) -> None:
    path = write(tmp_path, 3, fill).path
    made = (path / MANIFEST).stat().st_ino
    write(tmp_path, 3, fill)
    assert (path / MANIFEST).stat().st_ino == made
    (path / "empty").write_bytes(b"x")
    write(tmp_path, 3, fill)
    assert not problems(path) and names(tmp_path) == ["update-00000003", "update-00000003.invalid"]
    assert json.loads((path / MANIFEST).read_bytes())["files"]["empty"]["bytes"] == 0
