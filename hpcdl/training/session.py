"""The ranks that this process has joined: one world and one engine for its life."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from socket import gethostname
from types import TracebackType

from hpcdl.engine.base import Engine
from hpcdl.engine.select import create
from hpcdl.errors import HpcdlError, WorldError
from hpcdl.training.device import pin_gpu
from hpcdl.world import World


@dataclass
class Session:
    """What `init` found. `replicas_alike` turns true with the first broadcast of a start."""

    world: World
    engine: Engine
    replicas_alike: bool = False


_session: Session | None = None


def join(environ: Mapping[str, str], engine: str = "auto") -> Session:
    """Joins the ranks, once; later calls answer the same session.

    Raises:
        WorldError: the launcher and the engine do not agree on rank or size.
        LaunchError: the engine does not load.
    """
    global _session
    if _session is None:
        claimed = World.from_env(environ)
        joined = create(engine, claimed.size)
        if (joined.rank, joined.size) != (claimed.rank, claimed.size):
            raise WorldError(
                f"rank {joined.rank} of {joined.size} from {joined.name}, "
                f"rank {claimed.rank} of {claimed.size} from {claimed.launcher}",
                "both to agree",
                "start with `hpcdl run`, whose mpirun fits the MPI library in use",
            )
        # Before the first collective: one of Horovod's starts TensorFlow's runtime on every visible GPU.
        pin_gpu(claimed)
        world = place(claimed, joined.gather_objects(gethostname()))
        _session = Session(world, joined)
        if world.size > 1:
            sys.excepthook = _abort_all
    return _session


def current() -> Session:
    """The session that `init` opened.

    Raises:
        WorldError: `init` was not called.
    """
    if _session is None:
        raise WorldError(
            "no call of hpcdl.init()", "it to come first", "call hpcdl.init() before anything else of hpcdl"
        )
    return _session


def place(world: World, hosts: list[str]) -> World:
    """The world with node and local numbers as the ranks' host names tell them."""
    names = list(dict.fromkeys(hosts))
    mine = hosts[world.rank]
    return replace(
        world,
        local_rank=hosts[: world.rank].count(mine),
        local_size=hosts.count(mine),
        node=names.index(mine),
        nodes=len(names),
    )


def _abort_all(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    """A rank that cannot go on ends them all; the others would wait for it in a collective."""
    if isinstance(value, HpcdlError) and not os.environ.get("HPCDL_DEBUG"):
        print(f"error\n{value}", file=sys.stderr, flush=True)
    else:
        sys.__excepthook__(kind, value, trace)
    abort()


def abort() -> None:
    """Ends every rank, where there is more than this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    if _session is not None and _session.world.size > 1:
        _session.engine.abort()
