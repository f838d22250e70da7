"""Public data sets from the addresses that publish them; a file gets its name only when its bytes are right.

What comes is written to NAME.part beside its place. A cut connection goes on from there, in this call or in a later
one: which bytes are right is known beforehand, so parts that do not belong together are noticed by their checksum and
fetched anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hpcdl.data.fetch.archives import Archive, ArchiveFile
from hpcdl.data.fetch.download import Pause, Tell
from hpcdl.data.fetch.origins import fill, join, origins_of
from hpcdl.data.fetch.part import Part, Show, unwritable
from hpcdl.data.sources.files import MARK
from hpcdl.errors import DataError


@dataclass(frozen=True)
class Fetched:
    """A file that is there and right."""

    path: Path
    file: ArchiveFile
    origin: str | None
    """The address or the file that it came from; None: it was there."""


def fetch(
    archive: Archive,
    out: Path,
    origin: str | None = None,
    *,
    show: Show = lambda *_: None,
    tell: Tell = lambda _: None,
    pause: Pause = time.sleep,
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
    origins = origins_of(archive, origin)
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
            with Part(target, file, show) as part:
                part.check_room()
                came_from = fill(part, archive, origins, tell, pause)
                part.settle()
            # An address that just worked is asked first from now on.
            origins = sorted(origins, key=lambda one: one != came_from)
            fetched.append(Fetched(target, file, join(came_from, file)))
    return fetched


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Makes a folder, which goes again where something fails and it is empty."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for place in made:
                place.rmdir()
        raise


def _check_present(target: Path, file: ArchiveFile) -> None:
    try:
        with target.open("rb") as content:
            fault = file.fault(content)
    except OSError as error:
        raise DataError(f"{target}: {error.strerror}", str(file), "move it away and run the same line again") from None
    if fault:
        raise DataError(
            f"{target}, which is not the published file: {fault}",
            str(file),
            "keep it if you know what it is; else move it away and run the same line again",
        )


def _layout(name: str) -> str:
    from hpcdl.data.sources.registry import SOURCES

    return SOURCES[name].layout if name in SOURCES else "files that you have downloaded yourself"
