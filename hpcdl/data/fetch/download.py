"""One file from one address over HTTP: a cut connection goes on where it ended (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from hpcdl.data.fetch.archives import BLOCK
from hpcdl.data.fetch.part import Part

RETRIES = 4
"""So often an address is asked again without having brought anything new."""
TIMEOUT = 30.0
"""Seconds without an answer, or without a byte, after which a connection counts as cut."""
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
"""HTTP states that may be others a moment later."""

Tell = Callable[[str], None]
"""Called with what went wrong and is tried again."""
Pause = Callable[[float], None]
"""Waits for some seconds."""


class Refused(Exception):
    """This place will not give the file; another one may."""


class _Cut(Exception):
    """This address may give the file, or the rest of it, when it is asked again."""


def download(url: str, part: Part, tell: Tell, pause: Pause) -> None:
    """Asks one address until it has given the file, or has brought nothing new for a while.

    Args:
        url: of the file.
        part: holds the right file afterwards; where this address is refused, what may be of use for the next.
        tell: see Tell.
        pause: see Pause.

    Raises:
        Refused: it does not give the file.
        DataError: the disk is full.
    """
    part.etag = None
    tries, farthest = 0, part.size
    while True:
        try:
            if part.size != part.file.size:
                _receive(url, part)
            fault = part.fault()
            if fault is None:
                return
            in_pieces = part.in_pieces
            part.restart()
            if not in_pieces:
                raise Refused(fault)
            reason = f"{fault}, put together from several answers"
        except _Cut as error:
            reason = str(error)
        if part.size > farthest:
            tries, farthest = 0, part.size
        tries += 1
        if tries > RETRIES:
            raise Refused(f"{reason}; asked {tries} times")
        seconds = 2.0 ** (tries - 1)
        tell(f"{url}: {reason}; asking again in {seconds:.0f} s")
        pause(seconds)


def plain(error: object) -> str:
    """What an error says, without its number."""
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return told or type(error).__name__


def _receive(url: str, part: Part) -> None:
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
                    raise Refused(f"more than {part.file.size:,} bytes")
                part.append(block)
    except HTTPError as error:
        error.close()
        told = f"HTTP {error.code} {error.reason}"
        if error.code == 416 and part.size:
            part.restart()
            raise _Cut(f"{told}, starting over") from None
        raise (_Cut if error.code in TRANSIENT else Refused)(told) from None
    except URLError as error:
        # No route, no such host, no trusted certificate: nothing that a moment would change.
        reset = isinstance(error.reason, ConnectionError) and not isinstance(error.reason, ConnectionRefusedError)
        raise (_Cut if reset else Refused)(plain(error.reason)) from None
    except (OSError, HTTPException) as error:
        raise _Cut(plain(error)) from None
    if part.size < part.file.size:
        raise _Cut(f"the connection ended after {part.size:,} of {part.file.size:,} bytes")


def _accept(status: int, headers: HTTPMessage, part: Part) -> None:
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
            raise Refused(f"offers {length} bytes instead of {part.file.size}")
        part.restart()
    # Only a strong validator may be sent with If-Range (RFC 9110, section 13.1.5).
    part.etag = etag if etag and etag.startswith('"') else None


class _Redirects(request.HTTPRedirectHandler):
    """Follows an address to http and https only."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> request.Request | None:
        if urlsplit(newurl).scheme not in {"http", "https"}:
            raise Refused(f"redirects to {newurl}, which is neither http nor https")
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
