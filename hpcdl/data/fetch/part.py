"""NAME.part: what has come of a file, beside the place where the file gets its name when it is whole and right."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from hpcdl.data.fetch.archives import ArchiveFile
from hpcdl.errors import DataError

Show = Callable[[str, int, int], None]
"""(name of the file, bytes so far, bytes in all)."""


class Part:
    """What has come of a file so far. One process at a time holds it; an empty one is not left behind.

    Args:
        target: where the file belongs.
        file: what it should be.
        show: called as bytes come.

    Raises:
        DataError: on entering, where it cannot be written, or another process writes it.
    """

    def __init__(self, target: Path, file: ArchiveFile, show: Show) -> None:
        self.file = file
        self.path = target.with_name(f"{target.name}.part")
        self.etag: str | None = None
        """The version that the bytes so far belong to, where the server told one."""
        self.in_pieces = False
        """Whether the bytes come from more than one answer."""
        self._target = target
        self._show = show
        self._settled = False

    def __enter__(self) -> Part:
        try:
            self._handle: BinaryIO = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise unwritable(self.path, error) from None
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

    def check_room(self) -> None:
        """Compares what is missing with what is free.

        Raises:
            DataError: the rest does not fit on the disk.
        """
        with suppress(OSError):
            free, missing = shutil.disk_usage(self.path.parent).free, self.file.size - self.size
            if free < missing:
                raise DataError(
                    f"{free:,} bytes free in {self.path.parent}",
                    f"{missing:,} bytes for {self.file.name}",
                    "make room, or choose another folder with --out",
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
        self._show(self.file.name, self.size, self.file.size)

    def fault(self) -> str | None:
        """What is wrong with the file, or None where all of it is there and right."""
        self._handle.seek(0)
        return self.file.fault(self._handle)

    def settle(self) -> None:
        """Gives the file its name.

        Raises:
            DataError: the folder cannot be written.
        """
        try:
            os.fsync(self._handle.fileno())
            self.path.replace(self._target)
        except OSError as error:
            raise unwritable(self._target, error) from None
        self._settled = True

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


def unwritable(path: Path, error: OSError) -> DataError:
    """What to raise for a file or folder that cannot be written."""
    return DataError(
        f"{path}: {error.strerror}", "a folder that can be written", "choose another folder with --out, or make room"
    )
