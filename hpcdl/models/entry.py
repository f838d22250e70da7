"""What the registry knows of a network before it is built."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, int, int]
"""Height, width and channels of an image."""


@dataclass(frozen=True)
class Entry:
    """Where a network's builder is, a function (shape, classes) -> keras.Model, and what to know of the network."""

    module: str
    function: str
    summary: str
    parameters: int | None
    """All of them, moving statistics too, for `shape` and `classes`; None for a network of another package."""
    shape: Shape
    """Height, width and channels that it was made for; others can be asked for."""
    classes: int
    """How many classes it was made for; other numbers can be asked for."""
    source: str
    """Paper, book or package that the network is from."""
    expects: str | None
    """What the pixels are scaled to, in the words of data.normalize, where the network or its published weights were
    made; None where nobody said."""
    minimum: int = 1
    """Smallest height and width."""
    package: str | None = None
    """The installed package that brings it; None for hpcdl's own and those of keras.applications."""
