"""What a checkpoint of a fit holds.

model.weights.h5   plain Keras: model.load_weights
state.npz          variables of the optimizer and of random layers, every rank's metrics, weights that callbacks keep
state.json         position, what callbacks have learned, versions
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpcdl.checkpoint import WEIGHTS
from hpcdl.software import versions
from hpcdl.training.keeper import Fill
from hpcdl.training.neighbors import States
from hpcdl.training.snapshot import STATE, Arrays, assign, load_weights, packed, read_state, weights_file

ARRAYS = "state.npz"


@dataclass(frozen=True)
class Position:
    """How far a fit has come.

    Attributes:
        epoch: that runs, or comes next, from 0.
        steps: batches of it that were made.
        drawn: batches that were made in all.
        finished: nothing is left to do, for the last epoch was made or a callback has stopped the training.
        stopped: a callback has stopped it.
        shard: number of the shard that is trained on; None: no batch was made.
        kind: of that shard's data.
        passes: how often each shard was read from its beginning before this epoch.
    """

    epoch: int
    steps: int = 0
    drawn: int = 0
    finished: bool = False
    stopped: bool = False
    shard: int | None = None
    kind: list[str] | None = None
    passes: tuple[int, ...] = ()


@dataclass(frozen=True)
class FitState:
    """All that is not a variable of the model or the optimizer.

    Attributes:
        position: see Position.
        metrics: of each rank, the values of its metrics' variables; they are of the epoch that runs.
        callbacks: see neighbors.
    """

    position: Position
    metrics: list[Arrays]
    callbacks: States


def take(model: keras.Model, state: FitState) -> Fill:
    """Copies a model that trains, and what else is to be kept."""
    weights = weights_file(model)
    arrays: dict[str, npt.NDArray[Any]] = {
        **_numbered("optimizer", _values(model.optimizer.variables)),
        **_numbered("random", _values(_random(model))),
    }
    for rank, values in enumerate(state.metrics):
        arrays |= _numbered(f"metrics.{rank}", values)
    callbacks = []
    for number, (name, learned) in enumerate(state.callbacks):
        plain = {}
        for key, value in learned.items():
            if _is_weights(value):
                arrays |= _numbered(f"callback.{number}.{key}", value)
                plain[key] = {"arrays": len(value)}
            else:
                plain[key] = {"value": value}
        callbacks.append((name, plain))
    text = json.dumps(
        {
            "position": asdict(state.position),
            "ranks": len(state.metrics),
            "callbacks": callbacks,
            "versions": versions(),
        },
        default=float,  # NumPy's numbers
    )
    content = packed(arrays)

    def fill(place: Path) -> None:
        (place / WEIGHTS).write_bytes(weights)
        (place / ARRAYS).write_bytes(content)
        (place / STATE).write_text(text, encoding="utf-8")

    return fill


def restore(place: Path, model: keras.Model) -> FitState:
    """Gives a built model and its built optimizer their values back, and answers the rest.

    Raises:
        CheckpointError: of another network, or of a recipe's run.
    """
    state = read_state(place, "position")
    load_weights(place, model)
    with np.load(place / ARRAYS, allow_pickle=False) as file:
        arrays = dict(file)
    assign(place, model.optimizer.variables, _named(arrays, "optimizer"), "an optimizer")
    assign(place, _random(model), _named(arrays, "random"), "random layers")
    position = Position(**{**state["position"], "passes": tuple(state["position"]["passes"])})
    callbacks = [
        (
            name,
            {
                key: _named(arrays, f"callback.{number}.{key}") if "arrays" in value else value["value"]
                for key, value in learned.items()
            },
        )
        for number, (name, learned) in enumerate(state["callbacks"])
    ]
    return FitState(position, [_named(arrays, f"metrics.{rank}") for rank in range(state["ranks"])], callbacks)


def metric_variables(model: keras.Model) -> list[keras.Variable]:
    """In which the metrics of an epoch add up."""
    return [variable for metric in model.metrics for variable in metric.variables]


def metric_values(model: keras.Model) -> Arrays:
    """This rank's."""
    return _values(metric_variables(model))


def give_metrics(model: keras.Model, saved: list[Arrays], rank: int, size: int) -> None:
    """Gives the metrics what they had: each rank its own, and where ranks are more or fewer, rank 0 all of it."""
    own = saved[rank] if len(saved) == size else [np.sum(values, axis=0) for values in zip(*saved, strict=True)]
    for variable, value in zip(metric_variables(model), own, strict=True):
        variable.assign(value if len(saved) == size or rank == 0 else np.zeros_like(value))


def _random(model: keras.Model) -> list[keras.Variable]:
    """What random layers count with."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _values(variables: Iterable[keras.Variable]) -> Arrays:
    return [np.array(variable.numpy()) for variable in variables]


def _numbered(name: str, values: Arrays) -> dict[str, npt.NDArray[Any]]:
    return {f"{name}.{number}": value for number, value in enumerate(values)}


def _named(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> Arrays:
    count = sum(key.rpartition(".")[0] == name for key in arrays)
    return [arrays[f"{name}.{number}"] for number in range(count)]


def _is_weights(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, np.ndarray) for each in value)
