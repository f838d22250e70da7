"""What the measured steps of a start took of each node, from the samples of its first rank."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcdl.records import RankTiming, Usage

Sample = dict[str, float]
"""A line of ranks/RANK.usage.csv, without what the machine did not tell."""


def read_usage(
    ranks: Path,
    places: Sequence[Mapping[str, Any]],
    timings: Sequence[RankTiming],
    first: int,
    tell: Callable[[str], object],
) -> list[Usage]:
    """Each node's.

    Args:
        ranks: folder of the ranks' records.
        places: of the ranks, as environment.json has them.
        timings: of the measured steps.
        first: steps before the measured ones.
        tell: hears of torn lines, which are left out.
    """
    return [
        summarise(
            read_samples(ranks / f"{place['rank']}.usage.csv", tell),
            [timing for timing in timings if timing.node == place["node"]],
            first,
            place["absent"],
        )
        for place in places
        if place["local_rank"] == 0
    ]


def summarise(samples: Sequence[Sample], ranks: Sequence[RankTiming], first: int, absent: Sequence[str]) -> Usage:
    """One node's use during the measured steps.

    Energy is the mean power between the first and the last sample among the measured steps, times their seconds.

    Args:
        samples: in their order, from before the first step on.
        ranks: of the node.
        first: steps before the measured ones.
        absent: what the node said that it does not tell.
    """
    seconds = max(sum(timing.step) for timing in ranks)
    measured = [sample for sample in samples if sample["steps"] >= first]
    counters = [power(measured, name) for name in ("energy_joules", "gpu_joules")]
    powers = [each for each in counters if each is not None]
    memory, percent, gpu_memory = (_values(measured, name) for name in ("memory_gib", "gpu_percent", "gpu_memory_gib"))
    why = list(absent)
    if not powers and any("energy_joules" in sample or "gpu_joules" in sample for sample in samples):
        why.append("energy: fewer than two samples, one a second, in the measured steps")
    if not memory:
        why.append("memory: no sample, one a second, in the measured steps")
    return Usage(
        node=ranks[0].node,
        host=ranks[0].host,
        cpu_percent=100.0 * sum(sum(timing.cpu) for timing in ranks) / seconds,
        memory_gib=max(memory, default=None),
        gpu_percent=sum(percent) / len(percent) if percent else None,
        gpu_memory_gib=max(gpu_memory, default=None),
        energy_joules=sum(powers) * seconds if powers else None,
        absent=why,
    )


def power(samples: Sequence[Sample], counter: str) -> float | None:
    """Watts, from the first to the last sample that has a counter of joules; None where fewer than two have."""
    known = [sample for sample in samples if counter in sample]
    if len(known) < 2 or known[-1]["time"] <= known[0]["time"]:
        return None
    return (known[-1][counter] - known[0][counter]) / (known[-1]["time"] - known[0]["time"])


def read_samples(path: Path, tell: Callable[[str], object]) -> list[Sample]:
    """The samples of a file; none where it is not there, or cannot be read."""
    found, torn = list[Sample](), 0
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                try:
                    sample = {name: float(text) for name, text in row.items() if text != ""}
                except (TypeError, ValueError):
                    torn += 1
                    continue
                if {"time", "steps"} <= set(sample):
                    found.append(sample)
    except OSError:
        tell(f"{path} cannot be read: what the node used is not known")
    if torn:
        tell(f"{path}: {torn} torn line{'' if torn == 1 else 's'} left out")
    return found


def _values(samples: Sequence[Sample], name: str) -> list[float]:
    return [sample[name] for sample in samples if name in sample]
