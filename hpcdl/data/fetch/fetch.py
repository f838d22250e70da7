"""Public data sets from the addresses that publish them; a file gets its name only when its bytes are right.

What comes is written to NAME.part beside its place. A cut connection goes on from there (RFC 9110, section 14), in
this call or in a later one: which bytes are right is known beforehand, so parts that do not belong together are
noticed by their checksum and fetched anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException, HTTPMessage
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import yaml

from hpcdl.data.sources.files import MARK
from hpcdl.errors import ConfigError, DataError

RETRIES = 4
"""So often an address is asked again without having brought anything new."""
TIMEOUT = 30.0
"""Seconds without an answer, or without a byte, after which a connection counts as cut."""
BLOCK = 1 << 18
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
"""HTTP states that may be others a moment later."""

Show = Callable[[str, int, int], None]
"""(name of the file, bytes so far, bytes in all)."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class ArchiveFile:
    """One published file, and how it is told from any other."""

    name: str
    size: int
    """Bytes."""
    md5: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.size:,} bytes with md5 {self.md5} and sha256 {self.sha256}"


@dataclass(frozen=True)
class Archive:
    """A data set as it is published."""

    name: str
    title: str
    terms: str
    citation: str
    folder: str = "."
    """Below the folder of all sets, where `hpcdl data list` looks."""
    addresses: tuple[str, ...] = ()
    """Each is followed by a file's name."""
    files: tuple[ArchiveFile, ...] = ()
    manual: str | None = None
    """What a person does where nobody may download without an account; None: it can be fetched."""


@dataclass(frozen=True)
class Fetched:
    """A file that is there and right."""

    path: Path
    file: ArchiveFile
    origin: str | None
    """The address or the file that it came from; None: it was there."""


class _Refused(Exception):
    """This address will not give the file; another one may."""


class _Cut(Exception):
    """This address may give the file, or the rest of it, when it is asked again."""


@cache
def archives() -> dict[str, Archive]:
    """The published data sets by name, as archives.yaml lists them."""
    document = yaml.safe_load((files("hpcdl.data.fetch") / "archives.yaml").read_text(encoding="utf-8"))
    return {name: _archive(name, entry) for name, entry in document.items()}


def _archive(name: str, entry: dict[str, Any]) -> Archive:
    listed = tuple(ArchiveFile(file, **sums) for file, sums in entry.pop("files", {}).items())
    return Archive(name, files=listed, addresses=tuple(entry.pop("addresses", ())), **entry)


def fetch(
    archive: Archive,
    out: Path,
    origin: str | None = None,
    *,
    show: Show = lambda *_: None,
    tell: Tell = lambda _: None,
    pause: Callable[[float], None] = time.sleep,
) -> list[Fetched]:
    """Puts the files of a data set where hpcdl finds them; those that are there and right are left alone.

    Args:
        archive: what is wanted.
        out: folder of all data sets.
        origin: instead of the archive's addresses, the http or https address of a copy, or a folder that holds
            the files, in itself or in a folder of the archive's name.
        show: called as bytes come.
        tell: called with what went wrong and is tried again.
        pause: waits for some seconds before an address is asked again.

    Returns:
        The files, in the archive's order.

    Raises:
        ConfigError: an origin that is neither.
        DataError: the set needs an account, a file cannot be had or is not the published one, another file of its
            name or a stand-in is in its place, or the disk is full or not writable.
    """
    if archive.manual is not None:
        raise DataError(
            f"{archive.name}, which cannot be downloaded without an account", _layout(archive.name), archive.manual
        )
    sources = _sources(archive, origin)
    folder = out / archive.folder
    if (folder / MARK).exists():
        raise DataError(
            f"{folder}, which holds a stand-in that hpcdl made",
            "a folder for the published files",
            f"move it away, with its {MARK}, or choose another folder with --out",
        )
    fetched = []
    with _folder(folder):
        for file in archive.files:
            target = folder / file.name
            if os.path.lexists(target):
                _check_present(target, file)
                fetched.append(Fetched(target, file, None))
                continue
            with _Part(target, file) as part:
                _check_room(part)
                came_from = _first_right(archive, sources, part, show, tell, pause)
                part.settle()
            # An address that just worked is asked first from now on.
            sources = sorted(sources, key=lambda source: source != came_from)
            fetched.append(Fetched(target, file, _join(came_from, file)))
    return fetched


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Makes a folder, which goes again where something fails and it is empty."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for place in made:
                place.rmdir()
        raise


def _sources(archive: Archive, origin: str | None) -> list[str | Path]:
    if origin is None:
        return list(archive.addresses)
    if "://" not in origin:
        folder = Path(origin).expanduser()
        if not folder.is_dir():
            raise DataError(f"no folder {origin}", f"a folder that holds {_names(archive)}", "correct --from")
        below = folder / archive.folder
        return [below, folder] if below != folder and below.is_dir() else [folder]
    try:
        parts = urlsplit(origin)
        # urllib takes no name and password in an address.
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        usable = usable and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not origin.isascii() or not origin.isprintable() or " " in origin:
        raise ConfigError(
            f"--from {origin}", "an address that starts with http:// or https://, or a folder", "correct --from"
        )
    return [origin]


def _first_right(
    archive: Archive,
    sources: Sequence[str | Path],
    part: _Part,
    show: Show,
    tell: Tell,
    pause: Callable[[float], None],
) -> str | Path:
    """Fills the part from the first source that has the right file, and says which one that was."""
    reasons = []
    for place, source in enumerate(sources, 1):
        where = _join(source, part.file)
        try:
            if isinstance(source, Path):
                _copy(source / part.file.name, part, show)
            else:
                _download(where, part, show, tell, pause)
            return source
        except _Refused as error:
            reasons.append(f"{where}: {error}")
            if place < len(sources):
                tell(f"{reasons[-1]}; trying {_join(sources[place], part.file)}")
    kept = f" ({part.size:,} bytes are kept in {part.path} for the next try)" if part.size else ""
    by_hand = (
        f"try again, behind a proxy with https_proxy set, or bring the files by hand: put {_names(archive)} into a "
        f"folder and run `hpcdl data fetch {archive.name} --from FOLDER`"
    )
    again = (
        f"download it again from {' or '.join(archive.addresses)}; files that were packed anew, and that you trust, "
        "are read where they are with --data FOLDER"
    )
    raise DataError(
        f"no {part.file.name} of {archive.name}: {'; '.join(reasons)}{kept}",
        str(part.file),
        again if isinstance(sources[0], Path) else by_hand,
    )


def _copy(source: Path, part: _Part, show: Show) -> None:
    try:
        with source.open("rb") as file:
            part.restart()
            while block := file.read(BLOCK):
                part.append(block)
                show(part.file.name, part.size, part.file.size)
                if part.size > part.file.size:
                    break
    except OSError as error:
        raise _Refused(_plain(error)) from None
    if fault := part.fault():
        part.restart()
        raise _Refused(fault)


def _download(url: str, part: _Part, show: Show, tell: Tell, pause: Callable[[float], None]) -> None:
    """Asks one address until it has given the file, or has brought nothing new for a while."""
    part.etag = None
    tries, farthest = 0, part.size
    while True:
        try:
            if part.size != part.file.size:
                _receive(url, part, show)
            fault = part.fault()
            if fault is None:
                return
            in_pieces = part.in_pieces
            part.restart()
            if not in_pieces:
                raise _Refused(fault)
            reason = f"{fault}, put together from several answers"
        except _Cut as error:
            reason = str(error)
        if part.size > farthest:
            tries, farthest = 0, part.size
        tries += 1
        if tries > RETRIES:
            raise _Refused(f"{reason}; asked {tries} times")
        seconds = 2.0 ** (tries - 1)
        tell(f"{url}: {reason}; asking again in {seconds:.0f} s")
        pause(seconds)


def _receive(url: str, part: _Part, show: Show) -> None:
    """One request: the whole file, or the rest of it."""
    if part.size > part.file.size:
        part.restart()
    headers = {"User-Agent": "hpcdl", "Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.etag:
            headers["If-Range"] = part.etag
    try:
        with _opener().open(request.Request(url, headers=headers), timeout=TIMEOUT) as response:
            _accept(response.status, response.headers, part)
            while block := response.read1(BLOCK):
                if part.size + len(block) > part.file.size:
                    part.restart()
                    raise _Refused(f"more than {part.file.size:,} bytes")
                part.append(block)
                show(part.file.name, part.size, part.file.size)
    except HTTPError as error:
        error.close()
        told = f"HTTP {error.code} {error.reason}"
        if error.code == 416 and part.size:
            part.restart()
            raise _Cut(f"{told}, starting over") from None
        raise (_Cut if error.code in TRANSIENT else _Refused)(told) from None
    except URLError as error:
        # No route, no such host, no trusted certificate: nothing that a moment would change.
        reset = isinstance(error.reason, ConnectionError) and not isinstance(error.reason, ConnectionRefusedError)
        raise (_Cut if reset else _Refused)(_plain(error.reason)) from None
    except (OSError, HTTPException) as error:
        raise _Cut(_plain(error)) from None
    if part.size < part.file.size:
        raise _Cut(f"the connection ended after {part.size:,} of {part.file.size:,} bytes")


def _accept(status: int, headers: HTTPMessage, part: _Part) -> None:
    """Makes the part ready for an answer's body, or refuses the answer."""
    etag = headers.get("ETag")
    if status == 206:
        given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
        fits = given is not None and int(given[1]) == part.size and given[2] in {"*", str(part.file.size)}
        if not fits or (part.etag and etag and etag != part.etag):
            part.restart()
            raise _Cut("another part than was asked for, or of another file; starting over")
        part.in_pieces = part.size > 0
    else:
        length = headers.get("Content-Length")
        if length is not None and length.strip() != str(part.file.size):
            raise _Refused(f"offers {length} bytes instead of {part.file.size}")
        part.restart()
    # Only a strong validator may be sent with If-Range (RFC 9110, section 13.1.5).
    part.etag = etag if etag and etag.startswith('"') else None


class _Redirects(request.HTTPRedirectHandler):
    """Follows an address to http and https only."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> request.Request | None:
        if urlsplit(newurl).scheme not in {"http", "https"}:
            raise _Refused(f"redirects to {newurl}, which is neither http nor https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> request.OpenerDirector:
    """Speaks http and https, through the proxies that the environment names, and nothing else (no file, no ftp)."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        _Redirects(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Part:
    """What has come of a file so far. One process at a time holds it; an empty one is not left behind."""

    def __init__(self, target: Path, file: ArchiveFile) -> None:
        self.file = file
        self.path = target.with_name(f"{target.name}.part")
        self.etag: str | None = None
        """The version that the bytes so far belong to, where the server told one."""
        self.in_pieces = False
        """Whether the bytes come from more than one answer."""
        self._target = target
        self._settled = False

    def __enter__(self) -> _Part:
        try:
            self._handle: BinaryIO = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise _unwritable(self.path, error) from None
        try:
            self._lock()
        except BaseException:
            self._handle.close()
            raise
        self.size = self._stat().st_size
        self.in_pieces = self.size > 0
        return self

    def __exit__(self, *_: object) -> None:
        if self.size == 0 and not self._settled:
            self.path.unlink(missing_ok=True)
        self._handle.close()

    def _stat(self) -> os.stat_result:
        return os.fstat(self._handle.fileno())

    def _lock(self) -> None:
        alone = True
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        except OSError:
            pass  # a file system without locks
        # Another process may have given the file its name between opening and locking.
        if not alone or not self.path.exists() or not os.path.samestat(self.path.stat(), self._stat()):
            raise DataError(
                f"{self.path}, which another process writes", "one download at a time", "wait until it has ended"
            )

    def restart(self) -> None:
        """Forgets what has come."""
        self._handle.truncate(0)
        self.size, self.in_pieces, self.etag = 0, False, None

    def append(self, block: bytes) -> None:
        """Adds bytes.

        Raises:
            DataError: the disk is full; what has come is kept.
        """
        rest = memoryview(block)
        try:
            while rest:
                written = self._handle.write(rest)
                self.size += written
                rest = rest[written:]
        except OSError as error:
            raise DataError(
                f"{self.path}: {error.strerror} after {self.size:,} bytes",
                f"room for {self.file.size:,} bytes",
                "make room and run the same line again: what has come is kept",
            ) from None

    def fault(self) -> str | None:
        """What is wrong with the file, or None where all of it is there and right."""
        self._handle.seek(0)
        return _fault(self._handle, self.file)

    def settle(self) -> None:
        """Gives the file its name."""
        try:
            os.fsync(self._handle.fileno())
            self.path.replace(self._target)
        except OSError as error:
            raise _unwritable(self._target, error) from None
        self._settled = True


def _fault(handle: BinaryIO, file: ArchiveFile) -> str | None:
    sums = [hashlib.new(kind, usedforsecurity=False) for kind in ("md5", "sha256")]
    size = 0
    while block := handle.read(BLOCK):
        size += len(block)
        for one in sums:
            one.update(block)
    if size != file.size:
        return f"{size:,} bytes instead of {file.size:,}"
    for one in sums:
        if one.hexdigest() != getattr(file, one.name):
            return f"{one.name} {one.hexdigest()} instead of {getattr(file, one.name)}"
    return None


def _check_present(target: Path, file: ArchiveFile) -> None:
    try:
        with target.open("rb") as handle:
            fault = _fault(handle, file)
    except OSError as error:
        raise DataError(f"{target}: {error.strerror}", str(file), "move it away and run the same line again") from None
    if fault:
        raise DataError(
            f"{target}, which is not the published file: {fault}",
            str(file),
            "keep it if you know what it is; else move it away and run the same line again",
        )


def _check_room(part: _Part) -> None:
    with suppress(OSError):
        free, missing = shutil.disk_usage(part.path.parent).free, part.file.size - part.size
        if free < missing:
            raise DataError(
                f"{free:,} bytes free in {part.path.parent}",
                f"{missing:,} bytes for {part.file.name}",
                "make room, or choose another folder with --out",
            )


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: {error.strerror}", "a folder that can be written", "choose another folder with --out, or make room"
    )


def _layout(name: str) -> str:
    from hpcdl.data.sources.registry import SOURCES

    return SOURCES[name].layout if name in SOURCES else "files that you have downloaded yourself"


def _join(source: str | Path, file: ArchiveFile) -> str:
    return str(source / file.name) if isinstance(source, Path) else f"{source.rstrip('/')}/{file.name}"


def _names(archive: Archive) -> str:
    return ", ".join(file.name for file in archive.files)


def _plain(error: object) -> str:
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return told or type(error).__name__
