"""What a checkpoint holds: taken between two updates, written by whoever has time, and put back.

model.weights.h5   plain Keras: model.load_weights
optimizer.npz      the optimizer's variables in their order, named by number
state.json         progress, configuration, versions
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpcdl.checkpoint import WEIGHTS
from hpcdl.errors import CheckpointError

OPTIMIZER, STATE = "optimizer.npz", "state.json"
KINDS = {"progress": "a recipe's run", "position": "a fit with hpcdl.callbacks(checkpoint_dir=…)"}
"""What tells by whom a state was written."""
Arrays = list[npt.NDArray[Any]]


@dataclass(frozen=True)
class Snapshot:
    """Copies, which later updates do not change."""

    weights: Arrays
    optimizer: Arrays
    state: dict[str, Any]
    """For JSON."""


def take(model: keras.Model, optimizer: keras.optimizers.Optimizer, state: dict[str, Any]) -> Snapshot:
    """Copies the weights and the optimizer's variables."""
    return Snapshot(_copies(model.weights), _copies(optimizer.variables), state)


def fill(snapshot: Snapshot, model: keras.Model, place: Path) -> None:
    """Writes a snapshot's files into a folder.

    Args:
        snapshot: what to write.
        model: of the same network, and not the one that trains: it takes the snapshot's weights, for Keras to write.
        place: the folder.
    """
    model.set_weights(snapshot.weights)
    (place / WEIGHTS).write_bytes(weights_file(model))
    (place / OPTIMIZER).write_bytes(packed({str(number): array for number, array in enumerate(snapshot.optimizer)}))
    (place / STATE).write_text(json.dumps(snapshot.state), encoding="utf-8")


def weights_file(model: keras.Model) -> memoryview:
    """What `model.save_weights` writes."""
    file = InMemory()
    model.save_weights(file)
    return file.getbuffer()


def packed(arrays: Mapping[str, npt.NDArray[Any]]) -> memoryview:
    """An .npz file."""
    file = InMemory()
    np.savez(file, **{name: _plain(array) for name, array in arrays.items()})
    return file.getbuffer()


class InMemory(io.BytesIO):
    """A file for Keras or NumPy to write, which no file system can refuse.

    After a write that fails, HDF5 keeps the file open, under a number that may be another file's by then, and
    crashes the process when it exits; zip files complain long after.
    """

    def __str__(self) -> str:
        """What Keras takes for its name."""
        return WEIGHTS


def read_state(place: Path, kind: str = "progress") -> dict[str, Any]:
    """A checkpoint's state.json.

    Args:
        place: the checkpoint.
        kind: a key of KINDS.

    Raises:
        CheckpointError: it has none, or is of another kind.
    """
    try:
        state: dict[str, Any] = json.loads((place / STATE).read_bytes())
        if kind in state:
            return state
    except (OSError, ValueError):
        pass
    raise CheckpointError(f"{place}, whose {STATE} has no {kind}", f"a checkpoint of {KINDS[kind]}", "take another")


def restore(place: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Puts the weights and the optimizer's variables back.

    Raises:
        CheckpointError: they are of another network or optimizer.
    """
    load_weights(place, model)
    with np.load(place / OPTIMIZER, allow_pickle=False) as arrays:
        assign(place, optimizer.variables, [arrays[str(number)] for number in range(len(arrays))], "an optimizer")


def load_weights(place: Path, model: keras.Model) -> None:
    """Puts the weights back.

    Raises:
        CheckpointError: they are of another network.
    """
    try:
        model.load_weights(place / WEIGHTS)
    except ValueError as error:
        raise _foreign(place, "weights of another network", str(error).splitlines()[0]) from None


def assign(place: Path, variables: Sequence[keras.Variable], arrays: Arrays, of: str) -> None:
    """Gives variables the values that `packed` has stored.

    Args:
        place: the checkpoint, for the message.
        variables: as many, of the same shapes.
        arrays: their values.
        of: what keeps them, for the message.

    Raises:
        CheckpointError: these are other variables.
    """
    found, wanted = [array.shape for array in arrays], [tuple(variable.shape) for variable in variables]
    if found != wanted:
        differs = f"{len(found)} variables, and {len(wanted)} are wanted, or other shapes"
        raise _foreign(place, f"state of {of} that is another's", differs)
    for array, variable in zip(arrays, variables, strict=True):
        variable.assign(_own(array, variable.dtype))


def _foreign(place: Path, what: str, told: str) -> CheckpointError:
    return CheckpointError(f"{place} with {what}: {told}", "a checkpoint of this training", "choose another folder")


def _copies(variables: list[keras.Variable]) -> Arrays:
    return [np.array(variable.numpy()) for variable in variables]


def _plain(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bytes where NumPy's files do not know the type (bfloat16)."""
    return array.view(np.uint16) if array.dtype.kind == "V" else array


def _own(array: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    return array.view(keras.ops.zeros((), dtype).numpy().dtype) if dtype == "bfloat16" else array
