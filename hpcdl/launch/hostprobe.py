"""What a host tells of itself, and does with a run's folder, when ssh asks it: one question in, one answer out.

`python -m hpcdl.launch.hostprobe` reads a question in JSON from its input, so that paths pass no shell.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from zlib import crc32

from hpcdl.errors import HpcdlError
from hpcdl.launch import folder as folders
from hpcdl.launch.topology import read_topology
from hpcdl.records import write_text
from hpcdl.software import PACKAGES, versions

MARK = "hpcdl-answer: "
"""Before the answer; a login shell may print lines of its own."""
FILES = 20_000
"""Entries of a folder that are compared; a file server takes minutes for the million of ImageNet."""
SEEN_SECONDS = 1.0
"""How long a file server may take to show a new file."""
KEPT_BYTES = 4_000_000
"""Of the end of a rank's file that is fetched."""


@dataclass(frozen=True)
class Report:
    """One host.

    Attributes:
        host: what it calls itself, which is how ranks tell hosts apart.
        cores: as a rank may use them.
        bfloat16: its processors have instructions for it.
        versions: of Python and of packages, and a checksum of hpcdl's own files.
        paths: what each named path holds; None where nothing is there.
    """

    host: str
    cores: int
    bfloat16: bool
    versions: Mapping[str, str]
    paths: Mapping[str, str | None]


def look(paths: Mapping[str, str]) -> Report:
    """This host."""
    topology = read_topology()
    held = {name: holds(Path(path)) for name, path in paths.items()}
    return Report(topology.host, topology.cores, topology.bfloat16, software(), held)


def software() -> dict[str, str]:
    """What must be alike on all hosts."""
    code = Path(__file__).parents[1]
    texts = b"".join(path.read_bytes() for path in sorted(code.rglob("*.py")))
    return {**dict.fromkeys(PACKAGES, "none"), **versions(), "hpcdl's files": f"{crc32(texts):08x}"}


def holds(path: Path) -> str | None:
    """Names and sizes of a file or of a folder's files, as a count and a checksum; None where nothing is."""
    if not path.exists():
        return None
    total, check = 0, 0
    for name, size in _files(path):
        check = crc32(f"{name} {size}\n".encode(errors="surrogateescape"), check)
        total += 1
        if total == FILES:
            break
    return f"{total} file{'' if total == 1 else 's'}, checksum of names and sizes {check:08x}"


def sees(marker: Path) -> bool:
    """Whether a file is there that the launcher has written: then the folder is one that hosts share."""
    until = monotonic() + SEEN_SECONDS
    while not (found := marker.exists()) and monotonic() < until:
        sleep(0.1)
    return found


def make_folder(folder: Path, files: Mapping[str, str], *, overwrite: bool) -> None:
    """Makes the run's folder on a host that does not see the launcher's.

    Args:
        folder: of the run.
        files: name and text of what a rank reads there.
        overwrite: replace what an earlier run has left here.

    Raises:
        ConfigError: the folder holds an earlier run, or cannot be made.
    """
    folders.prepare(folder, overwrite=overwrite)
    (folder / "ranks").mkdir()
    for name, text in files.items():
        write_text(folder / name, text)


def collect(folder: Path) -> dict[str, str]:
    """What the ranks of this host have written: name and text, of long files the end."""
    return {path.name: _end(path) for path in sorted((folder / "ranks").iterdir()) if path.is_file()}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Does what is asked."""
    match question["ask"]:
        case "look":
            return asdict(look(question["paths"]))
        case "see":
            return {"shared": sees(Path(question["marker"]))}
        case "make":
            make_folder(Path(question["folder"]), question["files"], overwrite=question["overwrite"])
            return {}
        case _:
            return {"files": collect(Path(question["folder"]))}


def main() -> None:
    """Answers the question on the standard input."""
    try:
        told = answer(json.load(sys.stdin))
    except HpcdlError as error:
        told = {"error": [error.received, error.expected, error.fix]}
    print(MARK + json.dumps(told), flush=True)


def _files(path: Path) -> Iterator[tuple[str, int]]:
    if path.is_file():
        yield path.name, path.stat().st_size
        return
    for place, below, names in os.walk(path):
        below.sort()
        for name in sorted(names):
            file = Path(place) / name
            yield str(file.relative_to(path)), file.stat().st_size if file.exists() else -1


def _end(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - KEPT_BYTES))
        return file.read().decode("utf-8", errors="replace")


if __name__ == "__main__":
    main()
