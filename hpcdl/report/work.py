"""What an epoch costs: its time, and the hours of the devices that are taken for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcdl.records import Measurement, Results

WHOLE = {"mnist": 60_000, "fashion-mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000}
"""Training images of sets that have one official size."""
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
    """An epoch, if all documents tell the same size of it."""
    sizes = {_images(document) for document in documents}
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


def _images(document: Results) -> int | None:
    data, recipes = document.config.get("data"), {m.recipe for m in document.results}
    if not isinstance(data, Mapping) or recipes != {document.config.get("name")}:
        return None
    if not any(m.input == "real" for m in document.results):
        return None
    return None if any(_chosen(data, key) for key in ("classes", "per_class", "validation")) else _whole(data)


def _chosen(data: Mapping[str, Any], key: str) -> bool:
    return data.get(key) not in (None, 0, 0.0, [])


def _whole(data: Mapping[str, Any]) -> int | None:
    source = data.get("source")
    return WHOLE.get(source) if isinstance(source, str) else None
