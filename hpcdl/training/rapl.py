"""Energy of this node's processors and memory, as Linux counts it (RAPL, below /sys/class/powercap)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ROOT = Path("/sys/class/powercap")
OWN = ("package", "dram")
"""Zones that do not hold each other: a package's cores and graphics are parts of it, psys is all of them, and
intel-rapl-mmio counts a package once more (Linux, Documentation/power/powercap/powercap.rst)."""


class Rapl:
    """Adds up the counters, which begin again at their largest value.

    Args:
        root: where Linux shows them.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._joules, self._zones, self.absent = 0.0, list[Path](), ""
        """`absent`: why there are none; empty where there are some."""
        zones = sorted(root.glob("intel-rapl:*"))
        counters = [zone for zone in zones if _text(zone / "name").partition("-")[0] in OWN]
        if not counters:
            self.absent = f"no RAPL counter in {root}"
            return
        try:
            self._before = _read(counters)
            self._zones = counters
        except (OSError, ValueError) as error:
            self.absent = f"RAPL in {root} cannot be read ({getattr(error, 'strerror', None) or error})"

    def joules(self) -> float | None:
        """Since this object was made; ask more often than a counter goes around, in minutes. None: nobody tells."""
        if not self._zones:
            return None
        try:
            now = _read(self._zones)
        except (OSError, ValueError):
            return None
        for (value, _), (before, span) in zip(now, self._before, strict=True):
            self._joules += ((value - before) + (span if value < before else 0)) / 1e6
        self._before = now
        return self._joules


def _read(zones: Sequence[Path]) -> list[tuple[int, int]]:
    """(value, largest value) of each counter, in microjoules."""
    return [(int(_read_text(zone / "energy_uj")), int(_read_text(zone / "max_energy_range_uj"))) for zone in zones]


def _read_text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def _text(path: Path) -> str:
    try:
        return _read_text(path)
    except OSError:
        return ""
