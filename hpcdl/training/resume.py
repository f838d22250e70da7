"""Where a run goes on: the newest checkpoint that is whole, and of the same training."""

from __future__ import annotations

from pathlib import Path

from hpcdl import checkpoint
from hpcdl.config.same import differences, refuse
from hpcdl.config.schema import RunConfig
from hpcdl.errors import HpcdlError
from hpcdl.training.phases import Start
from hpcdl.training.progress import Progress
from hpcdl.training.session import Session
from hpcdl.training.snapshot import read_state
from hpcdl.training.trainer import Emit


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
    refuse(newest.path, differs)
    return Start(newest.path, state["phase"], state["done"], Progress.of(state["progress"]))
