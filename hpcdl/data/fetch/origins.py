"""Where a file may come from: the publisher's addresses, a copy's, or a folder; the first with the right file wins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from hpcdl.data.fetch.archives import BLOCK, Archive, ArchiveFile
from hpcdl.data.fetch.download import Pause, Refused, Tell, download, plain
from hpcdl.data.fetch.part import Part
from hpcdl.errors import ConfigError, DataError

Origin = str | Path
"""An http or https address that is followed by a file's name, or a folder."""


def origins_of(archive: Archive, given: str | None) -> list[Origin]:
    """Where to look for the files of a data set, in this order.

    Args:
        archive: what is wanted.
        given: an address or a folder to use instead of the archive's addresses.

    Raises:
        ConfigError: what is given is no address that can be used.
        DataError: it is a folder that is not there.
    """
    if given is None:
        return list(archive.addresses)
    if "://" not in given:
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise DataError(f"no folder {given}", f"a folder that holds {_names(archive)}", "correct --from")
        below = folder / archive.folder
        return [below, folder] if below != folder and below.is_dir() else [folder]
    try:
        parts = urlsplit(given)
        # urllib takes no name and password in an address.
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        usable = usable and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not given.isascii() or not given.isprintable() or " " in given:
        raise ConfigError(
            f"--from {given}", "an address that starts with http:// or https://, or a folder", "correct --from"
        )
    return [given]


def fill(part: Part, archive: Archive, origins: Sequence[Origin], tell: Tell, pause: Pause) -> Origin:
    """Fills a part from the first origin that has the right file.

    Args:
        part: of a file of the archive.
        archive: for messages.
        origins: what `origins_of` answered, in any order.
        tell: called with what went wrong and is tried again.
        pause: waits for some seconds before an address is asked again.

    Returns:
        The one that had it.

    Raises:
        DataError: none has, or the disk is full.
    """
    reasons = []
    for place, origin in enumerate(origins, 1):
        where = join(origin, part.file)
        try:
            if isinstance(origin, Path):
                _copy(origin / part.file.name, part)
            else:
                download(where, part, tell, pause)
            return origin
        except Refused as error:
            reasons.append(f"{where}: {error}")
            if place < len(origins):
                tell(f"{reasons[-1]}; trying {join(origins[place], part.file)}")
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
        again if isinstance(origins[0], Path) else by_hand,
    )


def join(origin: Origin, file: ArchiveFile) -> str:
    """The address or path of a file."""
    return str(origin / file.name) if isinstance(origin, Path) else f"{origin.rstrip('/')}/{file.name}"


def _copy(source: Path, part: Part) -> None:
    try:
        with source.open("rb") as file:
            part.restart()
            while block := file.read(BLOCK):
                part.append(block)
                if part.size > part.file.size:
                    break
    except OSError as error:
        raise Refused(plain(error)) from None
    if fault := part.fault():
        part.restart()
        raise Refused(fault)


def _names(archive: Archive) -> str:
    return ", ".join(file.name for file in archive.files)
