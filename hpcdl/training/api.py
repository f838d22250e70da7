"""The Python API for a user's own Keras script."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpcdl.errors import ConfigError
from hpcdl.training.callbacks import callbacks
from hpcdl.training.distribute import broadcast_variables, distribute
from hpcdl.training.session import current, join
from hpcdl.training.shard import shard
from hpcdl.world import World

__all__ = ["allgather_object", "allreduce", "barrier", "broadcast", "callbacks", "distribute", "init", "shard"]


def init(engine: str | None = None) -> World:
    """Joins the ranks and takes this rank's GPU; call it first, before TensorFlow touches a device.

    Args:
        engine: "horovod", "mpi", "single" or "auto"; None takes what `hpcdl run --engine` said,
            or auto: Horovod where it is installed, mpi otherwise.

    Returns:
        This rank's place; one rank where nothing started several.

    Raises:
        WorldError: launcher and engine do not agree, or more ranks than GPUs on a node.
        LaunchError: the engine's library does not load.
    """
    return join(os.environ, engine or os.environ.get("HPCDL_ENGINE", "auto")).world


def broadcast(model_or_variables: Any, root: int = 0) -> None:
    """Gives every rank root's weights.

    Args:
        model_or_variables: a built Keras model (its optimizer's state is sent too), or a list of variables.
        root: the rank that gives.
    """
    session = current()
    variables = model_or_variables
    if isinstance(model_or_variables, keras.Model):
        optimizer = getattr(model_or_variables, "optimizer", None)
        variables = [*model_or_variables.variables, *(optimizer.variables if optimizer else [])]
    broadcast_variables(session.engine, variables, root)
    session.replicas_alike = True


def allreduce(array: npt.ArrayLike, op: str = "mean") -> npt.NDArray[Any]:
    """The mean or sum of an array over the ranks.

    Args:
        array: the same shape and dtype on every rank.
        op: "mean" or "sum". A mean of integers is a float64.

    Raises:
        ConfigError: another op.
    """
    if op not in ("mean", "sum"):
        raise ConfigError(
            f"op={op!r}", "'mean' or 'sum'", "allreduce the array and its square for a variance, for example"
        )
    engine = current().engine
    total = engine.sum_array(np.asarray(array))
    return total if op == "sum" else np.asarray(total / engine.size)


def allgather_object(obj: Any) -> list[Any]:
    """Every rank's object, in rank order. It is pickled: for objects of your own ranks only."""
    return current().engine.gather_objects(obj)


def barrier() -> None:
    """Returns when every rank has come here."""
    current().engine.barrier()
