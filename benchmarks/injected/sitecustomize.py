"""Put on a rank's PYTHONPATH, this makes it fail: HPCDL_FAULT says how, on which rank, and before which update.

Python imports it at its start; nothing of hpcdl knows of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

SIGNALS = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "USR2": signal.SIGUSR2}


def harm(kind: str, trainer: Any) -> None:
    """Does it, in the thread that trains."""
    name, _, target = kind.partition(" on ")
    if target:
        pid = os.getpid() if target == "a rank" else int(Path(os.environ["HPCDL_FAULT_LAUNCHER"]).read_text())
        os.kill(pid, SIGNALS[name])
        return
    match kind:
        case "exception":
            raise RuntimeError("injected")
        case "CUDA error":
            import tensorflow as tf

            raise tf.errors.InternalError(None, None, "CUDA_ERROR_ILLEGAL_ADDRESS, as TensorFlow would tell it")
        case "os._exit(3)":
            os._exit(3)
        case "os._exit(0)":
            os._exit(0)
        case "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        case "SIGSEGV":
            import ctypes

            ctypes.string_at(0)
        case "memory":
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
            bytearray(2**32)
        case "SIGSTOP":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "endless loop":
            while True:
                pass
        case "stuck read":
            os.read(os.pipe()[0], 1)
        case "another collective":
            trainer._session.engine.barrier()
        case _:
            raise ValueError(kind)


class Patch(Loader):
    """Loads the trainer's module, and has it fail."""

    def __init__(self, loader: Any, fault: dict[str, Any]) -> None:
        self._loader, self._fault = loader, fault

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        kind: Any = module.Trainer
        set_rate, fault = kind._set_rate, self._fault

        def fails(trainer: Any, update: int) -> Any:
            if update == fault["update"] and trainer._session.world.rank == fault["rank"]:
                Path(os.environ["HPCDL_FAULT_TIME"]).write_text(str(time.time()))
                harm(fault["kind"], trainer)
            return set_rate(trainer, update)

        kind._set_rate = fails


class Finder(MetaPathFinder):
    """Finds that one module."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "hpcdl.training.trainer":
            return None
        spec = PathFinder.find_spec(name, path)
        if spec and spec.loader:
            spec.loader = Patch(spec.loader, json.loads(os.environ["HPCDL_FAULT"]))
        return spec


if "HPCDL_FAULT" in os.environ:
    sys.meta_path.insert(0, Finder())
