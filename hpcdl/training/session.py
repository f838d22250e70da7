"""The ranks that this process has joined: one world and one engine for its life."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from socket import gethostname
from traceback import extract_tb
from types import TracebackType

import keras
import tensorflow as tf

from hpcdl.engine.base import Engine
from hpcdl.engine.select import create
from hpcdl.errors import ConfigError, HpcdlError, WorldError
from hpcdl.launch.hostprobe import software
from hpcdl.launch.told import VARIABLE, Told
from hpcdl.training.agreement import agree
from hpcdl.training.device import pin_gpu
from hpcdl.world import World


@dataclass
class Session:
    """What `init` found."""

    world: World
    engine: Engine
    samples: tf.Tensor | None = None
    """While a training step is traced: how many samples this rank's batch holds, a float32 scalar; 0 where
    the batch only stands in for an empty one. None where nobody knows."""
    ragged: bool = False
    """Training data were cut that give ranks unequal parts of a batch, without weights."""
    passes: list[Passes] = field(default_factory=list)
    """Of each shard, in the order in which they were made."""
    kept: set[Path] = field(default_factory=set)
    """Folders that a `fit` of this process keeps its checkpoints in."""
    told: Told | None = None
    """What this rank leaves for a launcher that may start the ranks again; None where it is on another host."""
    ends: float | None = None
    """When the Slurm job around the ranks ends, as time.time() tells it."""


@dataclass
class Passes:
    """How often a shard's data have been read from the beginning: each time is an epoch, with its own order.

    Attributes:
        kind: what tells the data from others.
        batches: of a pass; None: nobody knows.
        next: number of the next pass.
    """

    kind: list[str]
    batches: int | None
    next: int = 0

    def begin(self) -> int:
        """A pass begins; answers its number."""
        self.next += 1
        return self.next - 1


PACKAGE = Path(__file__).parents[1]
_session: Session | None = None


def join(environ: Mapping[str, str], engine: str = "auto") -> Session:
    """Joins the ranks, once; later calls answer the same session.

    Raises:
        ConfigError: no such engine, Keras runs on another backend than TensorFlow, or ranks have other software.
        WorldError: the launcher and the engine do not agree on rank or size, or more ranks than GPUs.
        LaunchError: the engine does not load.
    """
    global _session
    if _session is not None:
        return _session
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"Keras on {keras.backend.backend()}", "Keras on TensorFlow", "export KERAS_BACKEND=tensorflow"
        )
    claimed = World.from_env(environ)
    joined = create(engine, claimed.size)
    # From here on a failure must end the other ranks too: they wait in the collective below.
    folder, ends = environ.get(VARIABLE), environ.get("SLURM_JOB_END_TIME")
    told = Told(Path(folder)) if folder and Path(folder).is_dir() else None
    _session = Session(claimed, joined, told=told, ends=float(ends) if ends else None)
    sys.excepthook = partial(_leave, "HPCDL_DEBUG" in environ)
    if (joined.rank, joined.size) != (claimed.rank, claimed.size):
        raise WorldError(
            f"rank {joined.rank} of {joined.size} from {joined.name}, "
            f"rank {claimed.rank} of {claimed.size} from {claimed.launcher}",
            "both to agree",
            "start with `hpcdl run`, whose mpirun fits the MPI library in use",
        )
    # Before the first collective: one of Horovod's starts TensorFlow's runtime on every visible GPU.
    pin_gpu(claimed)
    _session.world = place(claimed, joined.gather_objects(gethostname()))
    if joined.size > 1:
        parts = [f"{part} {version}" for part, version in software().items()]
        agree(joined, "the software", parts, "install the same on every host, or use a folder that all hosts share")
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


def _leave(debug: bool, kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    """A rank that cannot go on ends them all; the others would wait for it in a collective."""
    if isinstance(value, HpcdlError) and value.lasting and _session and _session.told:
        _session.told.fails_for_good()
    if isinstance(value, HpcdlError) and not debug:
        frames = [frame for frame in extract_tb(trace) if "site-packages" not in frame.filename]
        own = [frame for frame in frames if not Path(frame.filename).is_relative_to(PACKAGE)] or frames
        print(f"hpcdl: error at {own[-1].filename}:{own[-1].lineno}\n{value}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, value, trace)
    abort()


def abort() -> None:
    """Ends every rank, where there is more than this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    if _session is not None and _session.engine.size > 1:
        _session.engine.abort()
