"""What earlier calls have finished or planned in the same folder, which counts only if their arguments were equal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hpcdl.data.shards.files import to_json, write
from hpcdl.data.shards.format import MANIFEST, PARTS, PLAN, SPLITS, SplitName
from hpcdl.data.shards.manifest import Manifest, check, find, read_manifest
from hpcdl.errors import ConfigError

SETTINGS = ("source", "store", "size", "quality", "seed", "shard_mb", "classes", "files")
"""What makes two calls the same."""
DIFFERENT = {"classes": "other classes", "files": "other images"}
"""What differs where the values say nothing; else they are shown."""


def finished(out: Path, settings: dict[str, Any]) -> Manifest | None:
    """The manifest of what an earlier call with equal arguments has made; None if there is none yet.

    Raises:
        ConfigError: other arguments made it.
        DataError: the manifest is damaged, or a file is missing or of another length.
    """
    if find(out) is None or not (out / MANIFEST).exists():
        return None
    manifest = read_manifest(out)
    _refuse_other(out, manifest.model_dump(mode="json"), settings)
    check(out)
    shutil.rmtree(out / PARTS, ignore_errors=True)
    return manifest


def planned(out: Path, settings: dict[str, Any]) -> dict[SplitName, int] | None:
    """Shards of each split, as an earlier call with equal arguments has planned them; None if none has.

    Raises:
        ConfigError: other arguments planned it.
    """
    try:
        plan = json.loads((out / PARTS / PLAN).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        plan = {}
    _refuse_other(out, plan, settings)
    return {name: int(plan["shards"][name]) for name in SPLITS}


def write_plan(out: Path, counts: dict[SplitName, int], settings: dict[str, Any]) -> None:
    """Notes what is planned, for later calls."""
    write(out / PARTS / PLAN, to_json({"format": "hpcdl-shards", "shards": counts, **settings}))


def _refuse_other(out: Path, before: dict[str, Any], settings: dict[str, Any]) -> None:
    different = [name for name in SETTINGS if before.get(name) != settings[name]]
    if different:
        name = different[0]
        told = DIFFERENT.get(name) or f"{name} {before.get(name)}, and not {settings[name]}"
        raise ConfigError(
            f"--out {out}, which holds shards of {told}",
            "the arguments that it was begun with, or a new folder",
            "choose another --out, or add --overwrite",
        )
