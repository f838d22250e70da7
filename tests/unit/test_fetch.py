"""hpcdl data fetch against a server on this machine that misbehaves as servers do."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fcntl import LOCK_EX, flock
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hpcdl.cli.data_fetch import fetch as fetch_command
from hpcdl.data.fetch import archives as catalogue
from hpcdl.data.fetch.archives import Archive, ArchiveFile, archives
from hpcdl.data.fetch.download import RETRIES
from hpcdl.data.fetch.fetch import Fetched, fetch
from hpcdl.data.sources import synth
from hpcdl.data.sources.registry import locate
from hpcdl.errors import ConfigError, DataError, HpcdlError

RIGHT = hashlib.shake_256(b"right").digest(700_000)
WRONG = hashlib.shake_256(b"wrong").digest(700_000)
HALF = 300_000
Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers as the next reply of its site says, and else as a right server does."""

    server: Site

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        assert self.headers["User-Agent"] == "hpcdl"
        replies = self.server.replies
        (replies.pop(0) if replies else serve())(self)

    def log_message(self, *_: object) -> None:
        """Keeps the tests' output clean."""


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[Reply] = []
        self.seen: list[tuple[str, str | None, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/sets/"


def serve(
    content: bytes = RIGHT, etag: str | None = '"1"', upto: int | None = None, ranges: bool = True, heed: bool = True
) -> Reply:
    """A reply with the content or the range of it that was asked for; `upto`: so many bytes, then the end."""

    def reply(handler: Handler) -> None:
        asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        partly = ranges and asked is not None and (not heed or condition in {None, etag})
        start = int(asked.removeprefix("bytes=").rstrip("-")) if partly and asked else 0
        handler.send_response(206 if partly else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        if partly:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if etag:
            handler.send_header("ETag", etag)
        handler.end_headers()
        handler.wfile.write(content[start:][:upto])

    return reply


def state(code: int, **headers: str) -> Reply:
    def reply(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return reply


def reset(handler: Handler) -> None:
    """Ends the connection as a machine does that goes down: with a reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RD)
    handler.connection.close()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def described(name: str, content: bytes) -> ArchiveFile:
    return ArchiveFile(name, len(content), hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest())


FILE = described("a.gz", RIGHT)


def archive(*addresses: str, files: tuple[ArchiveFile, ...] = (FILE,)) -> Archive:
    return Archive("letters", "Letters", "free", "A. Author, 2000", "letters", addresses, files)


class Call:
    """Fetches into a folder without waiting, and keeps what was told."""

    def __init__(self, out: Path) -> None:
        self.out, self.target, self.part = out, out / "letters/a.gz", out / "letters/a.gz.part"
        self.pauses: list[float] = []
        self.told: list[str] = []

    def __call__(self, *addresses: str, origin: str | None = None) -> list[Fetched]:
        return fetch(archive(*addresses), self.out, origin, tell=self.told.append, pause=self.pauses.append)


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return Call(tmp_path / "sets")


def refused(call: Call, *addresses: str, origin: str | None = None) -> HpcdlError:
    with pytest.raises(HpcdlError) as caught:
        call(*addresses, origin=origin)
    assert not call.target.exists()
    return caught.value


def test_all_files_come_once_and_are_then_left_alone(site: Site, tmp_path: Path) -> None:
    wanted = archive(site.address, files=(FILE, described("b.gz", WRONG)))
    site.replies = [serve(), serve(WRONG)]
    progress: list[tuple[str, int, int]] = []
    fetched = fetch(wanted, tmp_path, show=lambda *step: progress.append(step))
    assert (tmp_path / "letters/a.gz").read_bytes() == RIGHT
    assert (tmp_path / "letters/b.gz").read_bytes() == WRONG
    assert sorted(path.name for path in (tmp_path / "letters").iterdir()) == ["a.gz", "b.gz"]
    assert [one.origin for one in fetched] == [site.address + "a.gz", site.address + "b.gz"]
    assert progress[-1] == ("b.gz", 700_000, 700_000) and ("a.gz", 700_000, 700_000) in progress
    assert [path for path, *_ in site.seen] == ["/sets/a.gz", "/sets/b.gz"]
    assert [one.origin for one in fetch(wanted, tmp_path)] == [None, None]
    assert len(site.seen) == 2


def test_a_cut_connection_goes_on_where_it_ended(site: Site, call: Call) -> None:
    site.replies = [serve(upto=HALF), serve(upto=1000)]
    call(site.address)
    assert call.target.read_bytes() == RIGHT and not call.part.exists()
    assert site.seen == [
        ("/sets/a.gz", None, None),
        ("/sets/a.gz", f"bytes={HALF}-", '"1"'),
        ("/sets/a.gz", f"bytes={HALF + 1000}-", '"1"'),
    ]
    assert call.pauses == [1.0, 1.0]
    assert f"{HALF:,} of 700,000 bytes" in call.told[0]


def test_a_reset_and_a_busy_server_are_asked_again(site: Site, call: Call) -> None:
    site.replies = [reset, state(503), state(429)]
    call(site.address)
    assert call.target.read_bytes() == RIGHT
    assert call.pauses == [1.0, 2.0, 4.0]
    assert "503" in call.told[1]


def test_what_came_is_kept_for_a_later_call(site: Site, call: Call) -> None:
    site.replies = [serve(upto=HALF)] + [serve(upto=0)] * RETRIES
    error = refused(call, site.address)
    assert f"{HALF:,} of 700,000 bytes; asked {RETRIES + 1} times" in error.received and "kept" in error.received
    assert call.pauses == [2.0**power for power in range(RETRIES)]
    assert call.part.read_bytes() == RIGHT[:HALF]
    site.seen.clear()
    call(site.address)
    assert site.seen == [("/sets/a.gz", f"bytes={HALF}-", None)]
    assert call.target.read_bytes() == RIGHT and not call.part.exists()


def test_a_server_without_ranges_starts_over(site: Site, call: Call) -> None:
    site.replies = [serve(upto=HALF, ranges=False), serve(ranges=False)]
    call(site.address)
    assert call.target.read_bytes() == RIGHT


def test_a_server_that_ever_ends_early_is_given_up(site: Site, call: Call) -> None:
    site.replies = [serve(upto=HALF, ranges=False)] * 50
    assert "asked" in refused(call, site.address).received
    assert len(site.seen) == RETRIES + 1


def test_a_wrong_checksum_leaves_nothing_and_names_both(site: Site, call: Call) -> None:
    site.replies = [serve(WRONG)]
    error = refused(call, site.address)
    assert hashlib.md5(WRONG).hexdigest() in error.received and FILE.md5 in error.expected
    assert not call.part.exists() and len(site.seen) == 1


@pytest.mark.parametrize("content", [RIGHT[:-1], RIGHT + b"x", b"<html>log in</html>"], ids=["short", "long", "page"])
def test_a_file_of_another_length_is_refused(site: Site, call: Call, content: bytes) -> None:
    site.replies = [serve(content)]
    assert f"offers {len(content)} bytes instead of 700000" in refused(call, site.address).received
    assert not call.part.exists()


def test_a_body_that_does_not_end_is_refused(site: Site, call: Call) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(RIGHT + b"x")

    site.replies = [endless]
    assert "more than 700,000 bytes" in refused(call, site.address).received
    assert not call.part.exists()


def test_a_missing_file_is_taken_from_the_next_address(site: Site, tmp_path: Path) -> None:
    mirror = site.address.replace("sets", "mirror")
    site.replies = [state(404), serve(), serve(WRONG)]
    told: list[str] = []
    wanted = archive(site.address, mirror, files=(FILE, described("b.gz", WRONG)))
    fetched = fetch(wanted, tmp_path, tell=told.append)
    assert [one.origin for one in fetched] == [mirror + "a.gz", mirror + "b.gz"]
    assert len(told) == 1 and "404" in told[0] and f"trying {mirror}a.gz" in told[0]


def test_another_address_goes_on_with_what_the_first_gave(site: Site, call: Call) -> None:
    site.replies = [serve(upto=HALF), state(410), serve(etag='"other"')]
    call(site.address, site.address.replace("sets", "mirror"))
    assert site.seen[-1] == ("/mirror/a.gz", f"bytes={HALF}-", None)
    assert call.target.read_bytes() == RIGHT


def test_a_range_that_cannot_be_starts_over(site: Site, call: Call) -> None:
    site.replies = [serve(upto=HALF), state(416, Content_Range="bytes */100")]
    call(site.address)
    assert [asked for _, asked, _ in site.seen] == [None, f"bytes={HALF}-", None]
    assert call.target.read_bytes() == RIGHT


def test_a_file_that_changed_between_is_not_put_together(site: Site, call: Call) -> None:
    site.replies = [serve(WRONG, '"old"', upto=HALF), serve(RIGHT, '"new"')]
    call(site.address)
    assert site.seen[1] == ("/sets/a.gz", f"bytes={HALF}-", '"old"')
    assert len(site.seen) == 2 and call.target.read_bytes() == RIGHT


def test_a_server_that_ignores_the_condition_is_seen_through(site: Site, call: Call) -> None:
    site.replies = [serve(WRONG, '"old"', upto=HALF), serve(RIGHT, '"new"', heed=False)]
    call(site.address)
    assert site.seen[2] == ("/sets/a.gz", None, None) and "another part" in call.told[1]
    assert call.target.read_bytes() == RIGHT


def test_the_rest_of_a_longer_file_is_not_taken(site: Site, call: Call) -> None:
    site.replies = [serve(upto=HALF), serve(RIGHT + b"x")]
    call(site.address)
    assert site.seen[2] == ("/sets/a.gz", None, None)
    assert call.target.read_bytes() == RIGHT


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_without_a_strong_tag_the_checksum_tells_parts_of_two_files(site: Site, call: Call, etag: str | None) -> None:
    site.replies = [serve(WRONG, etag, upto=HALF), serve(RIGHT, etag), serve(RIGHT, etag)]
    call(site.address)
    assert [seen[1:] for seen in site.seen] == [(None, None), (f"bytes={HALF}-", None), (None, None)]
    assert call.target.read_bytes() == RIGHT


def test_an_answer_with_another_range_is_not_taken(site: Site, call: Call) -> None:
    def other(handler: Handler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 0-699999/700000")
        handler.send_header("Content-Length", "700000")
        handler.end_headers()
        handler.wfile.write(RIGHT)

    site.replies = [serve(upto=HALF), other]
    call(site.address)
    assert call.target.read_bytes() == RIGHT and site.seen[-1][1] is None


@pytest.mark.parametrize("left", [RIGHT, WRONG, RIGHT + b"x"], ids=["whole", "wrong", "too long"])
def test_what_an_earlier_call_left_is_checked_too(site: Site, call: Call, left: bytes) -> None:
    call.part.parent.mkdir(parents=True)
    call.part.write_bytes(left)
    call(site.address)
    assert call.target.read_bytes() == RIGHT and not call.part.exists()
    assert len(site.seen) == (0 if left == RIGHT else 1)


def test_a_redirect_is_followed_to_http_only(site: Site, call: Call) -> None:
    for other in ("ftp://127.0.0.1/a.gz", "file:///etc/hostname"):
        site.replies = [state(302, Location=other)]
        assert other in refused(call, site.address).received
    site.replies = [state(302, Location=site.address.replace("sets", "moved") + "a.gz")]
    call(site.address)
    assert site.seen[-1][0] == "/moved/a.gz" and call.target.read_bytes() == RIGHT


def test_without_a_network_the_way_by_hand_is_told_at_once(call: Call) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        error = refused(call, address, address + "mirror/")
    assert f"{address}a.gz: Connection refused" in error.received and f"{address}mirror/a.gz" in error.received
    assert "a.gz into a folder" in error.fix and "hpcdl data fetch letters --from FOLDER" in error.fix
    assert call.pauses == [] and not call.out.exists()


@pytest.mark.parametrize("below", ["", "letters"])
def test_files_brought_by_hand_are_checked_and_copied(call: Call, tmp_path: Path, below: str) -> None:
    brought = tmp_path / "usb" / below
    brought.mkdir(parents=True)
    (brought / "a.gz").write_bytes(WRONG)
    error = refused(call, origin=str(tmp_path / "usb"))
    assert hashlib.md5(WRONG).hexdigest() in error.received and not call.out.exists()
    assert "--data FOLDER" in error.fix and "proxy" not in error.fix
    (brought / "a.gz").write_bytes(RIGHT)
    call.part.parent.mkdir(parents=True)
    call.part.write_bytes(WRONG[:HALF])
    assert [one.origin for one in call(origin=str(tmp_path / "usb"))] == [str(brought / "a.gz")]
    assert call.target.read_bytes() == RIGHT
    assert (brought / "a.gz").read_bytes() == RIGHT


def test_a_copy_elsewhere_is_asked_instead(site: Site, call: Call) -> None:
    call("http://nowhere.invalid/", origin=site.address.rstrip("/"))
    assert site.seen[0][0] == "/sets/a.gz" and call.target.read_bytes() == RIGHT


@pytest.mark.parametrize(
    "origin",
    [
        "ftp://127.0.0.1/",
        "http://",
        "http://[x/",
        "http://a b/",
        "https://a:x/",
        "http://me:pw@a/",
        "file:///tmp",
        "nowhere",
    ],
)
def test_an_origin_that_is_none_is_refused(call: Call, origin: str) -> None:
    error = refused(call, origin=origin)
    assert origin in error.received and isinstance(error, ConfigError) == ("://" in origin)
    assert not call.out.exists()


def test_a_folder_without_the_files_is_told_and_keeps_what_came(call: Call, tmp_path: Path) -> None:
    call.part.parent.mkdir(parents=True)
    call.part.write_bytes(RIGHT[:HALF])
    (tmp_path / "usb").mkdir()
    assert "a.gz: No such file" in refused(call, origin=str(tmp_path / "usb")).received
    assert call.part.read_bytes() == RIGHT[:HALF]


def test_another_file_of_that_name_is_not_touched(site: Site, call: Call) -> None:
    call.target.parent.mkdir(parents=True)
    call.target.write_bytes(WRONG)
    with pytest.raises(DataError, match="not the published file: md5"):
        call(site.address)
    assert call.target.read_bytes() == WRONG and site.seen == []
    call.target.unlink()
    call.target.mkdir()
    with pytest.raises(DataError, match="directory"):
        call(site.address)
    call.target.rmdir()
    call.target.symlink_to("nowhere")
    with pytest.raises(DataError, match="No such file"):
        call(site.address)
    assert site.seen == []


def test_published_files_do_not_go_beside_a_stand_in(site: Site, tmp_path: Path) -> None:
    synth.mnist(tmp_path, train=20, test=10)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="stand-in") as caught:
        fetch(replace(archives()["mnist"], addresses=(site.address,)), tmp_path)
    assert "--out" in caught.value.fix
    assert site.seen == [] and sorted(tmp_path.rglob("*")) == before


def test_files_go_where_they_are_looked_for(tmp_path: Path) -> None:
    for name in ("mnist", "fashion-mnist", "cifar10", "cifar100"):
        listed = archives()[name]
        out = tmp_path / name / "sets"
        for file in listed.files:
            (out / listed.folder).mkdir(parents=True, exist_ok=True)
            (out / listed.folder / file.name).touch()
        found = locate(name, [], [("./data", str(out))])
        assert found == locate(name, [("--data", str(out))], []) and found != out
        assert all((out / listed.folder / file.name).is_relative_to(found) for file in listed.files)


def test_a_folder_that_cannot_be_written_is_named(site: Site, call: Call) -> None:
    call.out.write_text("a file", encoding="utf-8")
    error = refused(call, site.address)
    assert str(call.out) in error.received and "--out" in error.fix and site.seen == []
    call.out.unlink()
    call.part.mkdir(parents=True)
    assert str(call.part) in refused(call, site.address).received and site.seen == []


def test_a_full_disk_keeps_what_came(site: Site, call: Call) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, hard))
    try:
        error = refused(call, site.address)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"after {HALF:,} bytes" in error.received and "make room" in error.fix
    assert call.part.read_bytes() == RIGHT[:HALF]
    call(site.address)
    assert site.seen[-1][1] == f"bytes={HALF}-" and call.target.read_bytes() == RIGHT


def test_too_little_room_is_seen_before_the_download(site: Site, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 1, 9))  # type: ignore[attr-defined]
    assert "9 bytes free" in refused(call, site.address).received
    assert site.seen == [] and not call.part.exists()


def test_two_downloads_do_not_write_one_file(site: Site, call: Call) -> None:
    call.part.parent.mkdir(parents=True)
    with call.part.open("wb") as other:
        flock(other, LOCK_EX)
        assert "another process" in refused(call, site.address).received
    assert call.part.exists() and site.seen == []
    call(site.address)


def test_the_shipped_list_is_complete() -> None:
    listed = archives()
    assert set(listed) == {"mnist", "fashion-mnist", "cifar10", "cifar100", "imagenet"}
    for entry in listed.values():
        assert entry.terms and entry.citation and (entry.manual is None) == bool(entry.files and entry.addresses)
        for file in entry.files:
            assert file.size > 0 and len(bytes.fromhex(file.md5)) == 16 and len(bytes.fromhex(file.sha256)) == 32
            assert file.name.endswith(".gz")
        assert all(address.startswith("http") and address.endswith("/") for address in entry.addresses)
    assert [len(listed[name].files) for name in ("mnist", "fashion-mnist", "cifar10", "cifar100")] == [4, 4, 1, 1]
    names = [file.name for file in listed["mnist"].files]
    assert names == [file.name for file in listed["fashion-mnist"].files] and len(set(names)) == 4


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`hpcdl data fetch` in an empty folder; answers its output or raises its error."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command("fetch")(fetch_command)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, HpcdlError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_the_command_says_what_came_and_under_which_terms(
    command: Callable[..., str], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "archives", lambda: {"letters": archive(site.address)})
    text = command("letters")
    assert f"data/letters/a.gz  700,000 bytes  checked, from {site.address}a.gz" in text
    assert "terms: free" in text and "cite:  A. Author" in text
    assert "is there and right" in command("letters") and len(site.seen) == 1
    row = json.loads(command("letters", "--out", "other", "--from", "data", "--json"))
    assert row["files"] == [
        {"path": "other/letters/a.gz", "bytes": 700_000, "md5": FILE.md5, "sha256": FILE.sha256}
        | {"from": "data/letters/a.gz"}
    ]


def test_the_command_tells_of_a_set_that_stands_before_it(
    command: Callable[..., str], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = Archive("cifar10", "x", "x", "x", ".", (site.address,), (described("cifar-10-binary.tar.gz", RIGHT),))
    monkeypatch.setattr(catalogue, "archives", lambda: {"cifar10": named})
    assert "note:" not in command("cifar10")
    folder = Path("data/cifar-10-batches-bin")
    folder.mkdir()
    (folder / "data_batch_1.bin").touch()
    assert f"hpcdl reads {folder}" in command("cifar10")


def test_what_the_command_cannot_fetch_is_explained(command: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data set 'imagenette'") as unknown:
        command("imagenette")
    assert "mnist, fashion-mnist, cifar10, cifar100, imagenet" in unknown.value.expected
    with pytest.raises(DataError, match="account") as manual:
        command("imagenet")
    assert "https://image-net.org" in manual.value.fix and "ILSVRC2012_img_train.tar" in manual.value.fix
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_every_set(command: Callable[..., str]) -> None:
    text = " ".join(command("--help").split())
    assert all(name in text for name in archives())
