"""What a benchmark writes: its figures beside the date, the machine and the versions that they are of."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hpcdl.launch.topology import read_topology
from hpcdl.records import write_json


def machine() -> str:
    """Cores that this process may use, and the processor's name."""
    topology = read_topology()
    return f"{topology.cores} cores, {topology.model}"


def write(path: Path, figures: dict[str, Any], *packages: str) -> None:
    """Writes figures as JSON.

    Args:
        path: of the file; its folder is made.
        figures: by name.
        packages: whose versions matter.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "schema": 1,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {name: version(name) for name in packages},
    }
    write_json(path, facts | figures)
