"""The forecast that a report shows: of its main series, up to eight times the most ranks that it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcdl.analysis import advice
from hpcdl.analysis.forecast import Forecast, calibrate
from hpcdl.analysis.measured import points_of, setting_of
from hpcdl.analysis.scaling import oversubscribed
from hpcdl.errors import RecordError
from hpcdl.records import Measurement
from hpcdl.report.series import Series

FEWEST = 3
REACH = 8


@dataclass(frozen=True)
class Outlook:
    """A forecast, what it was made from, and from where on a doubling adds less than half."""

    series: Series
    used: tuple[Measurement, ...]
    forecasts: list[Forecast]
    waste_beyond: int | None

    @property
    def most(self) -> int:
        """Ranks of the last point that it was made from."""
        return self.used[-1].ranks


def outlook(series: Sequence[Series], configs: Mapping[tuple[str, str, str, str], Mapping[str, Any]]) -> Outlook | str:
    """The forecast of the first series that carries one, or why there is none.

    Points with more compute threads than cores are left out: they tell how ranks share a machine that is full,
    and nothing of a larger one.

    Args:
        series: those to choose from, first the one that is preferred.
        configs: the recipe of each, by engine, mode, recipe and input.
    """
    wide = [one for one in series if len({m.ranks for m in one.points}) >= FEWEST]
    if not wide:
        return f"it needs {FEWEST} rank counts of one series"
    for one in wide:
        free = tuple(m for m in one.points if not oversubscribed(m))
        counts = [m.ranks for m in free]
        if len(counts) >= 2 and len(set(counts)) == len(counts):
            return _forecast(one, free, configs[one.engine, one.mode, one.recipe, one.input])
    return "of no series two rank counts or more, each once, had a core for every compute thread"


def _forecast(one: Series, free: tuple[Measurement, ...], config: Mapping[str, Any]) -> Outlook | str:
    setting = setting_of(free, config if isinstance(config.get("engine"), Mapping) else {}, None)
    reduced = free[-1].allreduce_bytes
    try:
        known = replace(setting, bytes=reduced / setting.carried if reduced else None)
        calibrated = calibrate(points_of(free), known)
    except RecordError as error:
        return f"{error.received}, where it needs {error.expected}"
    counts = [m.ranks for m in free]
    while counts[-1] < REACH * free[-1].ranks:
        counts.append(2 * counts[-1])
    return Outlook(one, free, calibrated.forecast(counts), advice.waste_beyond(calibrated))
