"""The same point measured on read images and on synthetic ones: what the input costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcdl.analysis.scaling import parted
from hpcdl.analysis.stats import ratio_interval
from hpcdl.records import Measurement

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Pair:
    """A point with images that were read, and without."""

    read: Measurement
    synthetic: Measurement

    @property
    def ratio(self) -> float:
        """Images/s with reading over those without."""
        return self.read.images_per_s.median / self.synthetic.images_per_s.median

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the ratio; None where one was measured once."""
        both = self.read.images_per_s.samples, self.synthetic.images_per_s.samples
        return ratio_interval(*both) if min(map(len, both)) > 1 else None

    @property
    def apart(self) -> bool | None:
        """Whether the two rates differ beyond noise."""
        return parted(self.read.images_per_s, self.synthetic.images_per_s)


def pairs(measurements: Sequence[Measurement]) -> list[Pair]:
    """All pairs that differ in the images alone."""
    without = {_key(m): m for m in measurements if m.input == SYNTHETIC}
    return [Pair(m, without[_key(m)]) for m in measurements if m.input != SYNTHETIC and _key(m) in without]


def _key(m: Measurement) -> tuple[str | int, ...]:
    return m.recipe, m.engine, m.mode, m.ranks, m.nodes, m.global_batch, m.micro_batch, m.threads
