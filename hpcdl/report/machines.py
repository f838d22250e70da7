"""Where two records' machines, software or recipes differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpcdl.report import text
from hpcdl.report.merge import Source

MACHINE = {"host", "cpu", "cores", "memory_gib", "gpus", "gpu"}
SOFTWARE = {"versions", "os", "launch"}


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The dotted keys of two nested mappings whose values differ, with both values."""
    one, two = dict(text.flatten(dict(a))), dict(text.flatten(dict(b)))
    keys = dict.fromkeys([*one, *two])
    return [(key, one.get(key, "none"), two.get(key, "none")) for key in keys if one.get(key) != two.get(key)]


def of_kind(differences: Sequence[tuple[str, str, str]], kind: set[str]) -> list[tuple[str, str, str]]:
    """Those of MACHINE or SOFTWARE."""
    return [each for each in differences if kind & set(each[0].split("."))]


def notes(sources: Sequence[Source]) -> list[str]:
    """What a reader of several folders must know: they are compared, and no base crosses them."""
    found = []
    for other in sources[1:]:
        environments = differing(sources[0].results.environment, other.results.environment)
        recipes = differing(sources[0].results.config, other.results.config)
        kinds = [
            (word, [f"{key} {one} and {two}" for key, one, two in differences])
            for word, differences in (
                ("machines", of_kind(environments, MACHINE)),
                ("software", of_kind(environments, SOFTWARE)),
                ("recipes", recipes),
            )
        ]
        for word, told in kinds:
            if told:
                more = f" and {len(told) - 3} more" if len(told) > 3 else ""
                found.append(
                    f"{sources[0].name} and {other.name} are of different {word}: {'; '.join(told[:3])}{more}. "
                    "Each has its own base, and no speedup crosses them."
                )
    return found
