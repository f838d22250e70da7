"""What lies in a folder: told without following more links than needed, and whatever bytes its names are made of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hpcdl.errors import DataError


def visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What a folder holds, in the file system's order, without what is hidden.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise out_of_reach(folder, error) from None


def is_folder(path: Path) -> bool:
    """Whether it is a folder or a link to one.

    Raises:
        DataError: this cannot be told.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise out_of_reach(path, error) from None


def has_folder(path: Path) -> bool:
    """Whether it is a folder with a visible folder in it.

    Raises:
        DataError: it cannot be read.
    """
    return is_folder(path) and any(leads_to_folder(entry) for entry in visible(path))


def folder_if_there(path: Path) -> Path | None:
    """A folder that need not be there, but is a folder if it is.

    Raises:
        DataError: it is something else.
    """
    if is_folder(path):
        return path
    if os.path.lexists(path):
        raise DataError(f"{shown(path)} leads to no folder", "a folder of images", "copy or link it again")
    return None


def leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; False for a link that leads nowhere or in a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link to nothing, or in a circle."""
    try:
        return entry.is_symlink() and not Path(entry).exists()
    except OSError:
        return True


def may_be_read(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a link; a link is followed when it is read, for that takes a call each."""
    try:
        return entry.is_symlink() or entry.is_file()
    except OSError:
        return True


def out_of_reach(path: Path, error: OSError) -> DataError:
    """What to raise for a file or folder that was listed or named, and cannot be read."""
    told = f"{shown(path)}: {error.strerror or error}"
    return DataError(told, "one that is there and may be read", "copy it again; check links and permissions")


def shown(path: Path | os.DirEntry[str]) -> str:
    """A path that can be printed, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
