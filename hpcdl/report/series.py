"""Measurements as series: one engine, mode, recipe and input over several rank counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcdl.records import Measurement


@dataclass(frozen=True)
class Series:
    """Points that share a base, by ascending ranks."""

    recipe: str
    engine: str
    mode: str
    input: str
    points: tuple[Measurement, ...]

    @property
    def base(self) -> Measurement:
        return self.points[0]

    @property
    def top(self) -> Measurement:
        return self.points[-1]

    @property
    def variant(self) -> tuple[str, str, str]:
        """What tells series of one recipe apart."""
        return self.engine, self.mode, self.input

    @property
    def setting(self) -> str:
        """The series in words."""
        return f"{self.engine} on {self.recipe} ({self.mode} scaling, {self.input} images)"


def group(measurements: Sequence[Measurement]) -> list[Series]:
    """The series, in the order in which they first appear."""
    keys = dict.fromkeys((m.recipe, m.engine, m.mode, m.input) for m in measurements)
    return [
        Series(
            *key,
            points=tuple(
                sorted(
                    (m for m in measurements if (m.recipe, m.engine, m.mode, m.input) == key),
                    key=lambda m: (m.ranks, m.nodes),
                )
            ),
        )
        for key in keys
    ]


def variant_names(series: Sequence[Series]) -> dict[tuple[str, str, str], str]:
    """A short label for each variant: only the parts in which variants differ."""
    variants = list(dict.fromkeys(one.variant for one in series))
    differs = [len({variant[part] for variant in variants}) > 1 for part in range(3)]
    names: dict[tuple[str, str, str], str] = {}
    for engine, mode, source in variants:
        words = [engine] + [f"{mode} scaling"] * differs[1] + [f"{source} images"] * differs[2]
        names[engine, mode, source] = ", ".join(words[0 if differs[0] or len(words) == 1 else 1 :])
    return names


def shared_setting(series: Sequence[Series]) -> str:
    """What all series have in common, for a title; empty where they have nothing."""
    recipes, engines, modes, inputs = (
        {one.recipe for one in series},
        {one.engine for one in series},
        {one.mode for one in series},
        {one.input for one in series},
    )
    words = sorted(recipes) * (len(recipes) == 1) + sorted(engines) * (len(engines) == 1)
    words += [f"{mode} scaling" for mode in modes if len(modes) == 1]
    words += [f"{source} images" for source in inputs if len(inputs) == 1]
    return ", ".join(words)


def repetitions(measurements: Sequence[Measurement]) -> str:
    """The sample size in words, e.g. "n = 5 repetitions"."""
    counts = sorted({len(m.images_per_s.samples) for m in measurements})
    if counts == [1]:
        return "n = 1 repetition, so no interval"
    return f"n = {counts[0]} repetitions" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]} repetitions"
