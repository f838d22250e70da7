"""hpcdl trains Keras 3 models on many ranks, with the result of one.

The public API; importing it starts nothing and imports neither TensorFlow nor MPI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcdl.training.api import (
        LARS,
        Muon,
        allgather_object,
        allreduce,
        barrier,
        broadcast,
        callbacks,
        distribute,
        evaluate,
        fuse_normalization,
        ghost_normalization,
        init,
        predict,
        shard,
        synchronize_normalization,
    )
    from hpcdl.world import World

__all__ = [
    "LARS",
    "Muon",
    "World",
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hpcdl' has no attribute {name!r}")
    return getattr(import_module("hpcdl.world" if name == "World" else "hpcdl.training.api"), name)


def __dir__() -> list[str]:
    return __all__
