"""What an epoch costs: its time, and the hours of the devices that are taken for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcdl.records import Measurement, Results

MILLION = 1_000_000


@dataclass(frozen=True)
class Work:
    """So many images, and what they are called: an epoch where the records tell its size, else a million images."""

    images: int
    words: str

    def hours(self, m: Measurement) -> float:
        """How long it takes."""
        return self.images / m.images_per_s.median / 3600.0

    def device_hours(self, m: Measurement) -> float:
        """How long it keeps the devices busy, all together. It only falls where efficiency exceeds 1."""
        return devices(m) * self.hours(m)


def work_of(documents: Sequence[Results]) -> Work:
    """An epoch, if all recipes tell the same size of it."""
    sizes = {_epoch(document, recipe) for document in documents for recipe in {m.recipe for m in document.results}}
    size = sizes.pop() if len(sizes) == 1 else None
    return Work(size, "an epoch") if size else Work(MILLION, "a million images")


def on_gpus(m: Measurement) -> bool:
    """Whether GPUs were seen at work; a rank has one then."""
    return any(use.gpu_percent is not None for repetition in m.repetitions for use in repetition.usage)


def devices(m: Measurement) -> int:
    """GPUs, or else the cores that the ranks' compute threads take."""
    return m.ranks if on_gpus(m) else min(m.ranks * m.threads, m.cores)


def device_name(measurements: Sequence[Measurement]) -> str:
    """What `devices` counts."""
    kinds = {on_gpus(m) for m in measurements}
    return "device" if len(kinds) > 1 else "GPU" if kinds.pop() else "core"


def _epoch(document: Results, recipe: str) -> int | None:
    """Of one recipe, whose synthetic input tells nothing."""
    told = {m.epoch_images for m in document.results if m.recipe == recipe and m.epoch_images is not None}
    return told.pop() if len(told) == 1 else None
