"""The Python API for a user's own Keras script."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpcdl.errors import ConfigError
from hpcdl.training.callbacks import callbacks
from hpcdl.training.distribute import adopt, broadcast_variables, distribute, share_start
from hpcdl.training.fused_normalization import fuse_normalization
from hpcdl.training.lars import LARS
from hpcdl.training.muon import Muon
from hpcdl.training.normalization import ghost_normalization, synchronize_normalization
from hpcdl.training.predict import evaluate, predict
from hpcdl.training.session import current, join
from hpcdl.training.shard import shard
from hpcdl.training.step import is_built
from hpcdl.world import World

__all__ = [
    "LARS",
    "Muon",
    "allgather_object",
    "allreduce",
    "barrier",
    "broadcast",
    "callbacks",
    "distribute",
    "evaluate",
    "fuse_normalization",
    "ghost_normalization",
    "init",
    "predict",
    "shard",
    "synchronize_normalization",
]


def init(engine: str | None = None) -> World:
    """Joins the ranks and takes this rank's GPU; call it first, before TensorFlow touches a device.

    Args:
        engine: "horovod", "mpi", "single" or "auto"; None takes what `hpcdl run --engine` said,
            or auto: Horovod where it is installed, mpi otherwise.

    Returns:
        This rank's place; one rank where nothing started several.

    Raises:
        ConfigError: no such engine, or Keras runs on another backend than TensorFlow.
        WorldError: launcher and engine do not agree, or more ranks than GPUs on a node.
        LaunchError: the engine's library does not load.
    """
    return join(os.environ, engine or os.environ.get("HPCDL_ENGINE", "auto")).world


def broadcast(model_or_variables: Any, root: int = 0) -> None:
    """Gives every rank root's weights.

    Args:
        model_or_variables: a built Keras model (its optimizer's state is sent too, and the optimizer
            may train from then on), or a list of variables.
        root: the rank that gives.

    Raises:
        ConfigError: the model is not built, or the ranks' models are not alike.
    """
    session = current()
    if isinstance(model_or_variables, keras.Model):
        if not is_built(model_or_variables):
            raise ConfigError("a model without weights", "a built model", "call it on a batch first: model(x[:1])")
        adopt(model_or_variables, session)
        share_start(model_or_variables, session, root)
    else:
        broadcast_variables(session.engine, model_or_variables, root)


def allreduce(array: npt.ArrayLike, op: str = "mean") -> npt.NDArray[Any]:
    """The mean or sum of an array over the ranks.

    Args:
        array: the same shape and dtype on every rank.
        op: "mean" or "sum".

    Returns:
        An array of the same shape. Integers and booleans are summed as int64, and their mean is
        float64; 16-bit floats become float64.

    Raises:
        ConfigError: another op.
    """
    if op not in ("mean", "sum"):
        raise ConfigError(
            f"op={op!r}", "'mean' or 'sum'", "allreduce the array and its square for a variance, for example"
        )
    engine, own = current().engine, np.asarray(array)
    if own.dtype.kind in "bui" or own.dtype.itemsize < 4:  # as NumPy's own sum and mean do
        own = own.astype(np.float64 if op == "mean" or own.dtype.kind not in "bui" else np.int64)
    total = engine.sum_array(own)
    return total if op == "sum" else np.asarray(total / engine.size)


def allgather_object(obj: Any) -> list[Any]:
    """Every rank's object, in rank order. It is pickled: for objects of your own ranks only."""
    return current().engine.gather_objects(obj)


def barrier() -> None:
    """Returns when every rank has come here."""
    current().engine.barrier()
