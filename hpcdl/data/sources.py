"""The data sets by name, and where they are looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpcdl.data import cifar10
from hpcdl.data.images import ImageSet
from hpcdl.errors import DataError


@dataclass(frozen=True)
class Source:
    """How a data set is found, read and imitated."""

    summary: str
    layout: str
    find: Callable[[Path], Path | None]
    load: Callable[[Path], ImageSet]
    synthesize: Callable[[Path, int, int, int], Path]


SOURCES = {
    "cifar10": Source(
        summary="50,000 + 10,000 colour images of 32 x 32 pixels in 10 classes",
        layout=f"{cifar10.FOLDER}/ or {cifar10.ARCHIVE}, the official binary version",
        find=cifar10.find,
        load=cifar10.load,
        synthesize=cifar10.synthesize,
    ),
}


def locate(source: str, places: list[tuple[str, str | None]]) -> Path:
    """The first place that holds a data set; a place that was named and does not hold it is an error.

    Args:
        source: a key of SOURCES.
        places: (what the user calls it, path or None), the most specific first.

    Raises:
        DataError: a named place does not hold the set, or no place was named.
    """
    entry = SOURCES[source]
    mend = f"put {entry.layout} there, or make a stand-in with `hpcdl data synth {source} --out data`"
    for label, path in places:
        if path is None:
            continue
        found = entry.find(Path(path).expanduser())
        if found is None:
            raise DataError(f"no {source} in {label} ({path})", entry.layout, mend)
        return found
    looked = ", ".join(label for label, _ in places)
    raise DataError(f"no {source} data ({looked} not set, no ./data)", entry.layout, mend)
