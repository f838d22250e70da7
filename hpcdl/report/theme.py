"""Colours and markers of the figures, for light and dark paper."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

Variant = TypeVar("Variant", bound=Hashable)


@dataclass(frozen=True)
class Theme:
    """Colours that go together; `cycle` is Okabe and Ito's palette (2008), safe for the colour-blind."""

    paper: str
    ink: str
    grid: str
    shade: str
    cycle: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1f2328",
    grid="#d9dde2",
    shade="#eceef1",
    cycle=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
)
DARK = Theme(
    paper="#171a1f",
    ink="#e6e8eb",
    grid="#343a42",
    shade="#262b32",
    cycle=("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Seven, against six colours: a pair comes back only after 42 variants."""


def looks(variants: Iterable[Variant]) -> dict[Variant, tuple[str, str]]:
    """The colour and the marker of each variant."""
    return {
        variant: (LIGHT.cycle[at % len(LIGHT.cycle)], MARKERS[at % len(MARKERS)]) for at, variant in enumerate(variants)
    }


def darkened(svg: bytes) -> bytes:
    """A drawing for light paper in the colours for dark paper."""
    pairs = zip(*((each.paper, each.ink, each.grid, each.shade, *each.cycle) for each in (LIGHT, DARK)), strict=True)
    dark = {light.lower(): other for light, other in pairs}
    return re.sub(rb"#[0-9a-fA-F]{6}\b", lambda found: _other(found[0], dark), svg)


def _other(colour: bytes, dark: dict[str, str]) -> bytes:
    return dark.get(colour.decode("ascii").lower(), colour.decode("ascii")).encode("ascii")
