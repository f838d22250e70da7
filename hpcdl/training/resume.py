"""Where a run goes on: the newest checkpoint that is whole, and of the same training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hpcdl import checkpoint
from hpcdl.config.load import dump
from hpcdl.config.schema import RunConfig
from hpcdl.errors import CheckpointError, HpcdlError
from hpcdl.training.phases import Start
from hpcdl.training.progress import Progress
from hpcdl.training.session import Session
from hpcdl.training.snapshot import read_state
from hpcdl.training.trainer import Emit

FREE = {
    "about": None,
    "checkpoint": None,
    "engine": None,
    "launch": None,
    "name": None,
    "data": {"path"},
    "train": {"check_every", "epochs", "evaluate", "mirror", "patience", "save", "stall_timeout", "steps", "target"}
    | {"time_limit"},
}
"""What may differ from the run that wrote a checkpoint; None: the whole section."""


def find_start(
    wanted: str, folder: Path, config: RunConfig, data: list[str], session: Session, emit: Emit
) -> Start | None:
    """What the leader finds, told to all ranks.

    Args:
        wanted: auto, or a checkpoint's path.
        folder: of the run's checkpoints.
        config: the resolved recipe.
        data: what tells the data set from others.
        session: the ranks.
        emit: gets an event for each checkpoint that is not whole.

    Returns:
        Where to go on; None with auto, where there is no whole checkpoint.

    Raises:
        CheckpointError: the checkpoint that was named is not whole, or is of another training. On every rank.
    """
    told: Start | HpcdlError | None = None
    found: Start | HpcdlError | None
    if session.world.is_leader:
        try:
            told = _find(wanted, folder, config, data, emit)
        except HpcdlError as error:
            told = error
    found = session.engine.gather_objects(told)[0]
    if isinstance(found, HpcdlError):
        raise found
    return found


def _find(wanted: str, folder: Path, config: RunConfig, data: list[str], emit: Emit) -> Start | None:
    if wanted == "auto":
        newest, refused = checkpoint.newest(folder)
        for path, why in refused.items():
            emit({"event": "invalid_checkpoint", "name": path.name, "why": why})
        if newest is None:
            return None
    else:
        newest = checkpoint.chosen(Path(wanted))
    state = read_state(newest.path)
    differs = differences(state["config"], config)
    differs += [
        f"its data had {then}, and have {now}" for then, now in zip(state["data"], data, strict=True) if then != now
    ]
    if differs:
        raise CheckpointError(
            f"{newest.path}, of another training: {'; '.join(differs)}",
            "the recipe that wrote it; only how long, where and how often may differ",
            "take those values back, or start anew with another --out",
        )
    return Start(newest.path, state["phase"], state["done"], Progress.of(state["progress"]))


def differences(then: dict[str, Any], config: RunConfig) -> list[str]:
    """The keys that decide what is learned and differ, with both values.

    Args:
        then: the recipe of a checkpoint.
        config: the recipe of now.
    """
    now = yaml.safe_load(dump(config))
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
