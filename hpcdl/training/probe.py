"""What each rank of `hpcdl doctor --ranks` executes: join, sum once, and leave what it saw.

`python -P -m hpcdl.training.probe FOLDER ENGINE`. It does not go through `join`, which refuses a world that the
launcher and the engine see differently: what each of them says is what is asked for here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from socket import gethostname
from time import perf_counter
from typing import Any

import numpy as np

from hpcdl.engine.base import Engine
from hpcdl.engine.select import create
from hpcdl.errors import HpcdlError
from hpcdl.records import write_json
from hpcdl.training.device import pin_gpu
from hpcdl.world import World


def probe(name: str, environ: Mapping[str, str], folder: Path) -> int:
    """Sums rank + 1 over the ranks, and writes a file of this process's own: ranks may all think that they are 0.

    Args:
        name: of the engine; "single" is not asked for, since it is always alone.
        environ: what the launcher told.
        folder: gets HOST-PID.json.

    Returns:
        The exit code.
    """
    file = folder / f"{gethostname()}-{os.getpid()}.json"
    seen: dict[str, Any] = {"host": gethostname(), "engine": name, "cpus": len(os.sched_getaffinity(0))}
    engine: Engine | None = None
    try:
        claimed = World.from_env(environ)
        seen |= {"launcher": claimed.launcher, "claimed": [claimed.rank, claimed.size]}
        engine = create(name, claimed.size)
        seen |= {"rank": engine.rank, "size": engine.size}
        pin_gpu(claimed)
        start = perf_counter()
        total = engine.sum_array(np.array([engine.rank + 1], np.int64))
        seen |= {"sum": int(total[0]), "seconds": perf_counter() - start}
    except HpcdlError as error:
        seen["told"] = [error.received, error.expected, error.fix]
    except Exception as error:  # an engine's libraries raise what they like
        seen["told"] = [f"{type(error).__name__}: {error}", "an allreduce", ""]
    write_json(file, seen)
    if "told" not in seen:
        return 0
    if engine is not None and engine.size > 1:
        engine.abort()  # the others wait in the sum
    return 1


if __name__ == "__main__":
    sys.exit(probe(sys.argv[2], os.environ, Path(sys.argv[1])))
