"""What must be the same on every rank, compared before it can do harm."""

from __future__ import annotations

from typing import Any

from hpcdl.engine.base import Engine
from hpcdl.errors import ConfigError


def agree(engine: Engine, what: str, value: Any, fix: str) -> None:
    """Refuses, on every rank at once, a value that differs between ranks.

    Args:
        engine: the ranks; all of them call this.
        what: names the value.
        value: compared by ==; it is pickled, and shown as it prints.
        fix: what the user should do.

    Raises:
        ConfigError: it differs; the message shows rank 0's and the first other one.
    """
    if engine.size == 1:
        return
    values = engine.gather_objects(value)
    other = next((rank for rank, each in enumerate(values) if each != values[0]), None)
    if other is not None:
        ours, theirs = _difference(values[0], values[other])
        raise ConfigError(f"{what}: {ours} on rank 0, {theirs} on rank {other}", "the same on every rank", fix)


def _difference(first: Any, other: Any) -> tuple[Any, Any]:
    """The first items that differ, where both are lists."""
    if isinstance(first, list) and isinstance(other, list):
        for one, two in zip(first, other, strict=False):
            if one != two:
                return one, two
        return f"{len(first)} entries", f"{len(other)} entries"
    return first, other
