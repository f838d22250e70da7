"""The folder of a run or a benchmark: made before anything starts, never mixed with an older one."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from hpcdl.errors import ConfigError

OURS = (
    "config.yaml",
    "environment.json",
    "events.jsonl",
    "launch.json",
    "mpirun.log",
    "model.keras",
    "ranks",
    "runs",
    "summary.json",
    "results.json",
)


def default_folder(name: str, now: datetime) -> Path:
    """runs/NAME-DATE-TIME."""
    return Path("runs") / f"{name}-{now:%Y%m%d-%H%M%S}"


def prepare(folder: Path, *, overwrite: bool) -> None:
    """Makes an empty folder for records.

    Args:
        folder: made with its parents.
        overwrite: delete what an earlier run left in it, and nothing else.

    Raises:
        ConfigError: it holds records already, or cannot be written.
    """
    try:
        old = [folder / name for name in OURS if (folder / name).exists()]
        if old and not overwrite:
            raise ConfigError(
                f"{folder} holds an earlier run ({old[0].name})",
                "a new folder",
                "choose another --out, or add --overwrite",
            )
        for path in old:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"--out {folder}: {error.strerror}", "a folder that can be written", "choose another --out"
        ) from None
