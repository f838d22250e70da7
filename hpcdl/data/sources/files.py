"""Files of a data set: in a folder, or in the .tar or .tar.gz archive as it was downloaded."""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from hpcdl.errors import DataError

ARCHIVES = (".tar.gz", ".tgz", ".tar")
MARK = "synthetic.json"
"""Lies beside files that hpcdl made, and tells how many records each holds."""
GZIP = b"\x1f\x8b"
"""How a gzip file begins (RFC 1952, section 2.3.1)."""
BLOCK = 1 << 20


def survey(path: Path, names: Collection[str], mend: str) -> tuple[dict[str, int], dict[str, int] | None]:
    """Bytes of those files that are there, and what `records` answers.

    Args:
        path: a folder, or an archive that holds the files in whatever folder; it is read once, to its end.
        names: of files, without folders.
        mend: what to do about a mark that says nothing.

    Raises:
        DataError: the archive is damaged, or the mark cannot be read.
    """
    if not path.is_file():
        return {name: (path / name).stat().st_size for name in names if (path / name).is_file()}, records(path, mend)
    lengths, mark = {}, None
    for name, length, file in _members(path, {*names, MARK}):
        lengths[name] = length
        if name == MARK:
            mark = file.read()
    return lengths, _counts(mark, path, mend)


def contents(path: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of those files that are there, one at a time; an archive's in its own order.

    Args:
        path: as for `survey`.
        names: as for `survey`.

    Raises:
        DataError: a file cannot be read, or the archive is damaged.
    """
    if path.is_file():
        yield from ((name, file.read()) for name, _, file in _members(path, names))
        return
    for name in names:
        try:
            yield name, (path / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unreadable(path / name, error) from None


def records(folder: Path, mend: str) -> dict[str, int] | None:
    """Records by file where the files are hpcdl's own, None where they are the official ones.

    Args:
        folder: where the files lie.
        mend: what to do about a mark that says nothing.

    Raises:
        DataError: the mark cannot be read.
    """
    return _counts(dict(contents(folder, [MARK])).get(MARK), folder, mend)


def unreadable(path: Path, error: OSError) -> DataError:
    """What to raise for a file that is there and cannot be read."""
    return DataError(f"{path}: {error.strerror or error}", "a readable file", "check its permissions")


def _counts(mark: bytes | None, path: Path, mend: str) -> dict[str, int] | None:
    if mark is None:
        return None
    try:
        counts = {str(name): int(count) for name, count in json.loads(mark)["records"].items()}
        if min(counts.values()) < 1:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(
            f"{path}/{MARK} without record counts", "the file that `hpcdl data synth` wrote", mend
        ) from None
    return counts


def _members(path: Path, names: Collection[str]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, bytes and content of the wanted files of an archive, in one pass that ends with gzip's checksum."""
    try:
        with path.open("rb") as raw:
            zipped = raw.peek(len(GZIP))[: len(GZIP)] == GZIP
            stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if zipped else raw)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    name = PurePosixPath(member.name).name
                    if member.isfile() and name in names:
                        yield name, member.size, cast(IO[bytes], tar.extractfile(member))
            while stream.read(BLOCK):
                pass
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: {error}", "the whole archive, as it was published", "download it again") from None
