"""What each rank of `hpcdl bench allreduce` executes: join, check that sums are right, and time them.

`python -P -m hpcdl.training.allreduce FOLDER ENGINE`, where ENGINE is horovod, mpi, or plain: mpi4py and copies in
memory, without TensorFlow.
"""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from hpcdl.allreduce import ASKED, EXPECTED, PLAIN, Asked, Series
from hpcdl.errors import HpcdlError, WorldError
from hpcdl.launch.run import failure_record
from hpcdl.records import parse, read_json, write_json
from hpcdl.software import versions
from hpcdl.training.timed import PATTERN, Timed, in_memory, plain_sums
from hpcdl.world import World

FEWEST = 3
"""Calls of a size that are measured, however long they last."""


class Team(Protocol):
    """Of an engine, what this benchmark needs."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def barrier(self) -> None: ...
    def gather_objects(self, value: Any) -> list[Any]: ...
    def abort(self) -> None: ...


class Alone:
    """One rank, which needs no MPI."""

    rank, size = 0, 1

    def barrier(self) -> None: ...
    def gather_objects(self, value: Any) -> list[Any]:
        return [value]

    def abort(self) -> None: ...


def measure(team: Team, timed: Sequence[Timed], asked: Asked) -> list[Series]:
    """Checks and warms up each, then calls each in turn until all have had their calls.

    A turn goes over all sizes, in an order of its own, so that neither a machine that drifts nor what the call before
    has left in the caches looks like a trend over sizes.

    Raises:
        WorldError: a sum is wrong.
    """
    for each in timed:
        if not (found := each.error()) <= each.allowed:  # NaN is wrong too
            raise WorldError(
                f"{each.bytes} bytes by {each.engine}, {each.compression}: wrong by {found:g} on rank {team.rank}",
                f"at most {each.allowed:g} for values up to {PATTERN}",
                "take another transport, as with OMPI_MCA_btl=self,tcp, and see `hpcdl doctor --ranks`",
            )
    warm = [[_seconds(team, each) for _ in range(asked.warmup)][-1] for each in timed]
    slowest = np.max(team.gather_objects(warm), axis=0)
    counts = [max(FEWEST, min(asked.calls, int(asked.seconds / last))) for last in slowest]
    own: list[list[float]] = [[] for _ in timed]
    for turn in range(max(counts)):
        for at in np.random.default_rng(turn).permutation(len(timed)):  # the same on every rank
            if turn < counts[at]:
                own[at].append(_seconds(team, timed[at]))
    every = team.gather_objects(own)
    return [
        Series(engine=each.engine, compression=each.compression, bytes=each.bytes, seconds=[rank[at] for rank in every])
        for at, each in enumerate(timed)
    ]


def execute(folder: Path, name: str, environ: Mapping[str, str], joined: Callable[[Team], None]) -> None:
    """Measures what `folder` asks, and lets rank 0 write its summary.json.

    Args:
        folder: of the start.
        name: of the engine, or plain.
        environ: what the launcher told.
        joined: hears of the ranks as soon as they are joined.

    Raises:
        WorldError: there are not as many ranks as were started, or a sum is wrong.
        HpcdlError: see hpcdl.training.session.join.
    """
    asked = parse(Asked, read_json(folder / ASKED, fix="measure again"), ASKED, EXPECTED, "measure again")
    library = None
    team: Team
    if name != PLAIN:
        from hpcdl.training.allreduce_engine import engine_sums
        from hpcdl.training.session import join

        team = engine = join(environ, name).engine
        joined(team)
        timed = engine_sums(engine, asked.bytes, asked.compressions)
    elif asked.ranks == 1:
        team, timed = Alone(), in_memory(asked.bytes)
    else:
        from hpcdl.engine.plain import PlainMpi

        team = plain = PlainMpi()
        joined(team)
        library = plain.library
        timed = [*in_memory(asked.bytes), *plain_sums(plain.sum_in_place, plain.rank, plain.size, asked.bytes)]
    if team.size != asked.ranks:
        raise WorldError(
            f"rank {team.rank} of {team.size}, where {asked.ranks} were started",
            "all of them in one world",
            f"see `hpcdl doctor --ranks {asked.ranks}`: launcher and MPI library may not fit",
        )
    hosts = team.gather_objects(gethostname())
    series = measure(team, timed, asked)
    if team.rank == 0:
        told = {"ranks": team.size, "hosts": hosts, "os": platform.platform(), "versions": versions(), "mpi": library}
        write_json(folder / "summary.json", {**told, "series": [each.model_dump() for each in series]})
    team.barrier()


def main(folder: Path, name: str, environ: Mapping[str, str]) -> int:
    """`execute`; a rank that fails leaves word for the launcher and ends the others, which wait for it."""
    teams: list[Team] = []
    try:
        execute(folder, name, environ, teams.append)
    except Exception as error:
        rank = World.from_env(environ).rank
        with suppress(OSError):
            write_json(folder / "ranks" / f"{rank}.failure.json", failure_record(error, rank, traceback.format_exc()))
        for team in teams:
            team.abort()
        return error.exit_code if isinstance(error, HpcdlError) else 1
    return 0


def _seconds(team: Team, each: Timed) -> float:
    team.barrier()
    start = perf_counter()
    each.call()
    return perf_counter() - start


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], os.environ))
