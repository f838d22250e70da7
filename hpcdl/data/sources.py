"""The data sets by name, and where they are looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdl.data import cifar10
from hpcdl.data.cifar10_synth import synthesize
from hpcdl.data.images import ImageSet
from hpcdl.data.subset import Subset, narrow
from hpcdl.errors import DataError


@dataclass(frozen=True)
class Source:
    """How a data set is found, read and imitated."""

    summary: str
    layout: str
    find: Callable[[Path], Path | None]
    check: Callable[[Path], None]
    """Cheap: refuses missing and truncated files before anything starts."""
    load: Callable[[Path, Subset], ImageSet]
    """Raises DataError where something is missing, damaged, or labelled wrongly."""
    synthesize: Callable[[Path, int, int, int], Path]
    """(folder, training images, test images, seed) -> what `find` answers for that folder."""


SOURCES = {
    "cifar10": Source(
        summary="50,000 + 10,000 colour images of 32 x 32 pixels in 10 classes",
        layout=f"{cifar10.FOLDER}/ or {cifar10.ARCHIVE}, the official binary version",
        find=cifar10.find,
        check=cifar10.check,
        load=lambda path, subset: narrow(cifar10.load(path), subset),
        synthesize=synthesize,
    ),
}


Place = tuple[str, str | None]
"""What the user calls a place, and its path if there is one."""


def locate(source: str, named: Sequence[Place], search: Sequence[Place]) -> Path:
    """The first place that holds a data set.

    Args:
        source: a key of SOURCES.
        named: places that a user chose for this set; one that does not hold it is an error.
        search: folders that may hold any sets.

    Raises:
        DataError: a named place does not hold the set, or no place does.
    """
    entry = SOURCES[source]
    mend = f"put {entry.layout} there, or make a stand-in with `hpcdl data synth {source} --out data`"
    for label, path in (*named, *search):
        found = None if path is None else entry.find(Path(path).expanduser())
        if found is not None:
            return found
        if path is not None and (label, path) in named:
            raise DataError(f"no {source} in {label} {path}", entry.layout, mend)
    looked = ", ".join(f"{label} {path or 'not set'}" for label, path in (*named, *search))
    raise DataError(f"no {source} data (looked at {looked})", entry.layout, mend)
