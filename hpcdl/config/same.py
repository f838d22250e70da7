"""Whether two recipes train the same: a run may go on only with the one that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcdl.config.schema import RunConfig
from hpcdl.errors import CheckpointError

FREE = {
    "about": None,
    "checkpoint": None,
    "engine": None,
    "launch": None,
    "name": None,
    "data": {"path"},
    "train": {
        "check_every",
        "epochs",
        "evaluate",
        "mirror",
        "moved",
        "patience",
        "save",
        "stall_timeout",
        "steps",
        "target",
    }
    | {"time_limit"},
}
"""What may differ; None: the whole section."""


def differences(then: Mapping[str, Any], config: RunConfig) -> list[str]:
    """The keys that decide what is learned and differ, with both values.

    Args:
        then: the earlier recipe, as JSON or YAML has it.
        config: the recipe of now.
    """
    now = config.model_dump(mode="json")
    found = []
    for section in now:
        free = FREE.get(section, set())
        if free is None or then.get(section) == now[section]:
            continue
        if not isinstance(now[section], dict):
            found.append(f"{section} was {then.get(section)} and is {now[section]}")
            continue
        before = then.get(section) or {}
        found += [
            f"{section}.{key} was {before.get(key)} and is {value}"
            for key, value in now[section].items()
            if key not in free and before.get(key) != value
        ]
    return found


def refuse(where: Path, differs: list[str]) -> None:
    """Refuses to go on with another training.

    Args:
        where: the run, or its checkpoint.
        differs: what is not as it was.

    Raises:
        CheckpointError: there is something.
    """
    if differs:
        raise CheckpointError(
            f"{where}, of another training: {'; '.join(differs)}",
            "the recipe that wrote it; only how long, where and how often may differ",
            "take those values back, or start anew with another --out",
        )
