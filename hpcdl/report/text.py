"""How figures are written, in one place, so that a sentence and a table never disagree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hpcdl.records import Interval


def number(value: float) -> str:
    """A quantity with about three digits and thousands separators."""
    if abs(value) >= 100.0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10.0 else f"{value:.2f}"


def quantity(value: float) -> str:
    """A quantity that may be far below one, with three digits."""
    return number(value) if value >= 1.0 else f"{value:.3g}"


def ratio(value: float) -> str:
    """A ratio, e.g. a speedup."""
    return f"{value:.2f}"


def percent(share: float) -> str:
    """A share of one, in percent."""
    return f"{100.0 * share:.1f} %"


def milliseconds(seconds: float) -> str:
    """Seconds in milliseconds, without the unit."""
    return number(1000.0 * seconds)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, with the unit."""
    if seconds < 120.0:
        return f"{seconds:.3g} s"
    return f"{seconds / 60.0:.3g} min" if seconds < 7200.0 else f"{seconds / 3600.0:,.3g} h"


def size(count: float) -> str:
    """Bytes in decimal units."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.3g} {unit}"
    return f"{count:.0f} B"


def bracket(low: str, high: str) -> str:
    """An interval's two ends; a comma between them would look like one more thousands separator."""
    return f"[{low} to {high}]"


def rate(interval: Interval) -> str:
    """Median images/s with its interval, if there is one."""
    return f"{number(interval.median)} {spread(interval)}".rstrip()


def spread(interval: Interval) -> str:
    """The interval alone; empty for a single repetition, which has none."""
    return bracket(number(interval.low), number(interval.high)) if len(interval.samples) > 1 else ""


def count(many: int, noun: str) -> str:
    """A count with its noun, e.g. "1 rank", "4 ranks", "2 series"."""
    return f"{many} {noun}" if many == 1 or noun.endswith("s") else f"{many} {noun}s"


def listing(words: Sequence[str]) -> str:
    """Words as a sentence lists them: "1, 2 and 4"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def flatten(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested dict as rows of a dotted key and a text; lists of plain values are joined by commas."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            rows += flatten(value, f"{name}.")
        else:
            rows.append((name, _plain(value)))
    return rows


def overrides(config: dict[str, Any], prefix: str = "") -> list[str]:
    """A resolved recipe as the key=value words that the command line takes."""
    words: list[str] = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            words += overrides(value, f"{prefix}{key}.")
        else:
            words.append(f"{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}")
    return words


def _plain(value: Any) -> str:
    if value is None or value in ({}, [], ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value)
