"""Two benchmarks point by point: what got faster or slower beyond noise, and what only one of them measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from hpcdl.analysis.scaling import parted
from hpcdl.analysis.stats import ratio_interval
from hpcdl.errors import RecordError
from hpcdl.records import Measurement, Results
from hpcdl.report import text
from hpcdl.report.machines import MACHINE, SOFTWARE, differing, of_kind

Verdict: TypeAlias = Literal["faster", "slower", "not distinguishable", "no interval"]
ALIKE = ("global_batch", "micro_batch", "threads", "cores")
"""What should be alike for rates to be compared; told where it is not."""


@dataclass(frozen=True)
class Change:
    """A point that both have: its rate in the second over that in the first."""

    before: Measurement
    after: Measurement

    @property
    def ratio(self) -> float:
        return self.after.images_per_s.median / self.before.images_per_s.median

    @property
    def interval(self) -> tuple[float, float] | None:
        """Bootstrap 95 % interval of the ratio; None where one was measured once."""
        both = self.after.images_per_s.samples, self.before.images_per_s.samples
        return ratio_interval(*both) if min(map(len, both)) > 1 else None

    @property
    def verdict(self) -> Verdict:
        """A word only where the intervals of the two rates part."""
        apart = parted(self.before.images_per_s, self.after.images_per_s)
        if apart is None:
            return "no interval"
        if not apart:
            return "not distinguishable"
        return "faster" if self.ratio > 1.0 else "slower"

    @property
    def unlike(self) -> list[str]:
        """What else differs, as "threads 1 and 2"."""
        pairs = [(key, getattr(self.before, key), getattr(self.after, key)) for key in ALIKE]
        return [f"{key.replace('_', ' ')} {one} and {two}" for key, one, two in pairs if one != two]

    def fell(self, limit: float) -> bool:
        """Whether the rate is lower beyond noise, and by more than this share."""
        return self.verdict == "slower" and self.ratio < 1.0 - limit


@dataclass(frozen=True)
class Comparison:
    """Two benchmarks.

    Attributes:
        changes: points that both have.
        before_only: points of the first alone.
        after_only: points of the second alone.
        notes: where machines, software and recipes differ, and what could not be judged.
    """

    changes: list[Change]
    before_only: list[Measurement]
    after_only: list[Measurement]
    notes: list[str]

    def regressions(self, limit: float) -> list[Change]:
        """Points that fell by more than this share, beyond noise."""
        return [change for change in self.changes if change.fell(limit)]


def compare(before: Results, after: Results, names: tuple[str, str]) -> Comparison:
    """Points of the same recipe, engine, mode, images, ranks and nodes beside each other.

    Raises:
        RecordError: they have no point in common.
    """
    first, second = ({_key(m): m for m in results.results} for results in (before, after))
    changes = [Change(first[key], second[key]) for key in first if key in second]
    if not changes:
        raise RecordError(
            f"{names[0]} and {names[1]} without a point in common: {name(before.results[0])}; {name(after.results[0])}",
            "the same recipe, engine, mode, images, ranks and nodes in both",
            "measure both with the same `hpcdl bench scaling` command",
        )
    return Comparison(
        changes,
        [m for key, m in first.items() if key not in second],
        [m for key, m in second.items() if key not in first],
        [*_notes(before, after), *_unjudged(changes)],
    )


def name(m: Measurement) -> str:
    """A point in words."""
    where = f" on {m.nodes} nodes" if m.nodes > 1 else ""
    return f"{m.recipe}, {m.engine}, {m.mode}, {m.input}, {text.count(m.ranks, 'rank')}{where}"


def answer(found: Comparison, limit: float | None) -> dict[str, Any]:
    """What a program reads."""
    return {
        "changes": [
            {
                **dict(zip(("recipe", "engine", "mode", "input", "ranks", "nodes"), _key(change.before), strict=True)),
                "before": change.before.images_per_s.model_dump(),
                "after": change.after.images_per_s.model_dump(),
                "ratio": change.ratio,
                "ratio_interval": change.interval,
                "verdict": change.verdict,
                "unlike": change.unlike,
                "regression": None if limit is None else change.fell(limit),
            }
            for change in found.changes
        ],
        "before_only": [name(m) for m in found.before_only],
        "after_only": [name(m) for m in found.after_only],
        "notes": found.notes,
    }


def _notes(before: Results, after: Results) -> list[str]:
    environments = differing(before.environment, after.environment)
    kinds = (
        ("another machine", of_kind(environments, MACHINE)),
        ("other software", of_kind(environments, SOFTWARE)),
        ("another recipe", differing(before.config, after.config)),
    )
    return [f"{kind}: {'; '.join(f'{key} {one} and {two}' for key, one, two in told)}" for kind, told in kinds if told]


def _unjudged(changes: Sequence[Change]) -> list[str]:
    once = [change for change in changes if change.verdict == "no interval"]
    told = [f"{name(change.before)}: {', '.join(change.unlike)}" for change in changes if change.unlike]
    if once:
        told.append(f"{text.count(len(once), 'point')} measured once: no interval, so no verdict and no regression")
    return told


def _key(m: Measurement) -> tuple[str, str, str, str, int, int]:
    return m.recipe, m.engine, m.mode, m.input, m.ranks, m.nodes
