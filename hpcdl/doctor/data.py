"""Which data sets are found, and whether their files are whole as far as a quick look tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hpcdl.data.sources.registry import SOURCES, Place
from hpcdl.doctor.findings import Finding, failure, ok
from hpcdl.errors import DataError


def check(places: Callable[[], Sequence[Place]]) -> list[Finding]:
    """A line for each set that was found.

    Args:
        places: folders that may hold any sets; raises DataError where one that was named is not there.
    """
    try:
        search = places()
    except DataError as error:
        return [failure("data", error.received, error.fix)]
    found = [each for name in SOURCES if (each := judge(name, search)) is not None]
    if found:
        return found
    looked = ", ".join(f"{label}{f' {path}' if path else ', which is not there'}" for label, path in search)
    return [ok("data", f"none in {looked} (`hpcdl data fetch` gets them, `hpcdl data synth` makes stand-ins)")]


def judge(name: str, places: Sequence[Place]) -> Finding | None:
    """Whether the first of a set that is found is whole; None where none is found."""
    source = SOURCES[name]
    for label, place in places:
        if place is None:
            continue
        try:
            path = (source.search or source.find)(Path(place).expanduser())
            if path is not None:
                source.check(path)
                return ok(name, str(path))
        except DataError as error:
            return failure(name, f"in {label}: {error.received}", error.fix)
        except OSError as error:
            return failure(name, f"{label} {error.filename or place}: {error.strerror}", f"correct {label}")
    return None
