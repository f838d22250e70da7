"""Colours and markers of the figures, for light and dark paper."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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


def looks(variants: Iterable[tuple[str, str, str]], theme: Theme) -> dict[tuple[str, str, str], tuple[str, str]]:
    """The colour and the marker of each variant."""
    return {
        variant: (theme.cycle[at % len(theme.cycle)], MARKERS[at % len(MARKERS)]) for at, variant in enumerate(variants)
    }
