"""Files that ship beside the code and that a site's admin reads: job templates, sites, container recipes."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def shipped(name: str) -> Path:
    """A top-level folder of the repository, or its copy inside of the wheel.

    Args:
        name: "slurm" or "containers".
    """
    inside = PACKAGE / "shipped" / name
    return inside if inside.is_dir() else PACKAGE.parent / name
