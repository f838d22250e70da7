"""What TensorFlow, Horovod and MPI say of themselves, asked in a process of its own.

`python -P -m hpcdl.engine.inquire PART…` prints one JSON line a part, as soon as it knows: a library that
takes the process down with it leaves the lines before it. No rank is joined, and no GPU is used.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION_BYTES = 8192
"""MPI_MAX_LIBRARY_VERSION_STRING of Open MPI is 256, of MPICH 8192."""


def tensorflow() -> dict[str, Any]:
    """Its version, and what it makes of the GPUs."""
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    return {
        "version": tf.__version__,
        "cuda": str(build.get("cuda_version", "")) if tf.test.is_built_with_cuda() else "",
        "rocm": bool(tf.test.is_built_with_rocm()),
        "gpus": len(tf.config.list_physical_devices("GPU")),
    }


def horovod() -> dict[str, Any]:
    """What it was built with, and the MPI library that it loads."""
    import horovod.tensorflow as hvd

    path = loaded("libmpi")
    return {
        "operations": [
            name
            for name, built in (("MPI", hvd.mpi_built()), ("Gloo", hvd.gloo_built()), ("NCCL", hvd.nccl_built()))
            if built
        ],
        "library": library_version(path) if path else "",
        "path": path or "",
    }


def mpi() -> dict[str, Any]:
    """The MPI library that mpi4py loads."""
    import mpi4py

    mpi4py.rc.initialize = False
    from mpi4py import MPI

    return {"library": MPI.Get_library_version().strip("\0\n "), "path": loaded("libmpi") or ""}


def loaded(name: str) -> str | None:
    """The path of a shared library that this process has mapped: `libmpi` finds libmpi.so.40 and libmpich.so.12."""
    rows = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()]
    paths = sorted({Path(row[5]) for row in rows if len(row) == 6})
    # libmpi_cxx.so and libmpifort.so know no MPI_Get_library_version
    return next((str(path) for path in paths if path.name.startswith((f"{name}.so", f"{name}ch.so"))), None)


def library_version(path: str) -> str:
    """What an MPI library calls itself; MPI allows to ask before anything else."""
    text, length = ctypes.create_string_buffer(VERSION_BYTES), ctypes.c_int()
    ctypes.CDLL(path).MPI_Get_library_version(text, ctypes.byref(length))
    return text.value.decode("utf-8", "replace").strip()


PARTS: dict[str, Callable[[], dict[str, Any]]] = {"tensorflow": tensorflow, "horovod": horovod, "mpi": mpi}


def main() -> None:
    """Asks the parts in turn."""
    for part in sys.argv[1:]:
        try:
            said = PARTS[part]()
        except Exception as error:  # whatever a library raises while it loads is the answer
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"part": part, **said}), flush=True)
    os._exit(0)  # not through the end of libraries that were only looked at


if __name__ == "__main__":
    main()
