"""What a point took of the machine, of all nodes together, and what the machine does not tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hpcdl.analysis.stats import median
from hpcdl.records import Measurement, Repetition, Usage


@dataclass(frozen=True)
class Used:
    """Medians over the repetitions that tell; None where none does.

    Attributes:
        cpu_percent: of one processor.
        memory_gib: of all ranks.
        gpu_percent: mean over GPUs.
        gpu_memory_gib: of all GPUs.
        joules: of the measured steps.
        images_per_joule: images of the measured steps over `joules`.
    """

    cpu_percent: float | None
    memory_gib: float | None
    gpu_percent: float | None
    gpu_memory_gib: float | None
    joules: float | None
    images_per_joule: float | None


def used(m: Measurement) -> Used:
    """What a point took."""

    def over(value: Callable[[Repetition], float | None]) -> float | None:
        told = [found for found in map(value, m.repetitions) if found is not None]
        return median(told) if told else None

    return Used(
        cpu_percent=over(lambda each: _sum(use.cpu_percent for use in each.usage)),
        memory_gib=over(lambda each: _sum(use.memory_gib for use in each.usage)),
        gpu_percent=over(lambda each: _mean([use.gpu_percent for use in each.usage])),
        gpu_memory_gib=over(lambda each: _sum(use.gpu_memory_gib for use in each.usage)),
        joules=over(_joules),
        images_per_joule=over(lambda each: each.images / joules if (joules := _joules(each)) else None),
    )


def absent(measurements: Iterable[Measurement]) -> list[str]:
    """What the nodes said that they do not tell, and why, each once."""
    uses: list[Usage] = [use for m in measurements for each in m.repetitions for use in each.usage]
    return list(dict.fromkeys(why for use in uses for why in use.absent))


def _joules(repetition: Repetition) -> float | None:
    return _sum(use.energy_joules for use in repetition.usage)


def _sum(values: Iterable[float | None]) -> float | None:
    """Of all nodes; None where one does not tell, for the rest would look like all."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if known and len(known) == len(found) else None


def _mean(values: Sequence[float | None]) -> float | None:
    total = _sum(values)
    return None if total is None else total / len(values)
