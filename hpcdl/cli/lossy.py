"""Output that a full disk does not turn into an error."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any, TextIO


class Lossy(io.FileIO):
    """Loses what its file system does not take; a reader that has gone is an error as ever."""

    def write(self, data: Any) -> int:
        """Says that all was written, whatever became of it."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError:
            return memoryview(data).nbytes


def lossy(stream: TextIO) -> TextIO:
    """The same output, with a Lossy below it."""
    with suppress(OSError):
        stream.flush()
    raw = io.BufferedWriter(Lossy(stream.fileno(), "wb", closefd=False))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, line_buffering=True)
