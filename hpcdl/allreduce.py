"""The record types of an allreduce benchmark: what ranks are asked, what they answer, and results.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hpcdl.errors import RecordError
from hpcdl.records import Interval, Record, parse, read_json

SCHEMA = 1
KIND = "allreduce"
EXPECTED = "a record of an allreduce benchmark"
ASKED = "allreduce.json"
"""The file in a start's folder in which its ranks read what to measure."""
MEMORY, PLAIN = "memory", "plain"
"""What sums are compared with: a copy of the same bytes, and an Allreduce of mpi4py alone."""


class Asked(Record):
    """What the ranks of one start measure."""

    ranks: int
    bytes: list[int]
    compressions: list[str]
    warmup: int
    """Calls of each size before the measured ones, which are dropped."""
    calls: int
    """Measured calls of each size, at most."""
    seconds: float
    """Time for the measured calls of a size, at most; FEWEST calls are made anyway."""


class Series(Record):
    """The measured calls of one size in one start."""

    engine: str
    compression: str
    bytes: int
    seconds: list[list[float]]
    """Of each rank, of each call: from the barrier before it until the sum is there."""


class Start(Record):
    """What the ranks of one start answer."""

    ranks: int
    hosts: list[str]
    """Of each rank."""
    os: str
    versions: dict[str, str]
    mpi: str | None
    """What the MPI library says of itself; None where no rank asked it."""
    series: list[Series]


class Sample(Record):
    """One start's calls of a point."""

    index: int
    """The repeat that it belongs to."""
    run: str
    """Folder of the start's own records, relative to the results file."""
    started: str
    """ISO 8601, UTC."""
    seconds: list[list[float]]
    """Of each rank, of each call."""


class Point(Record):
    """One size, on so many ranks, by one engine: medians over starts of a start's median call."""

    engine: str
    """horovod or mpi: the engine as training uses it; plain: mpi4py alone; memory: a copy on every rank at once."""
    compression: str
    """none, float16 or bfloat16: in what the float32 values travel."""
    ranks: int
    nodes: int
    bytes: int
    """Of float32 values on each rank, whatever they travel in."""
    seconds: Interval
    """A call lasts as long as it does on the slowest rank."""
    algorithm_bandwidth: Interval
    """bytes / seconds, in byte/s."""
    bus_bandwidth: Interval | None
    """bytes / seconds x 2(p - 1)/p, in byte/s; None for memory, where nothing is sent."""
    starts: list[Sample]


class Estimate(Record):
    """A fitted value with its bootstrap 95 % interval; where that reaches 0, the data do not carry the value."""

    value: float
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """Whether it is above zero beyond the noise."""
        return self.low > 0.0


class Fit(Record):
    """The cost model `seconds = 2(p - 1) alpha + 2(p - 1)/p bytes beta`, fitted over the sizes of a series."""

    engine: str
    compression: str
    ranks: int
    nodes: int
    sizes: int
    alpha: Estimate
    """Seconds a message."""
    beta: Estimate
    """Seconds a byte of float32; what adding them up costs is in it."""
    error: float | None
    """Median over the sizes of |model / measured - 1|; None for two sizes, which any such model meets."""


class AllreduceResults(Record):
    """An allreduce benchmark's results.json."""

    schema_: int = Field(SCHEMA, alias="schema")
    kind: Literal["allreduce"] = "allreduce"
    model: str
    """The cost model of the fits, in words."""
    warmup_calls: int
    """Calls of each size in each start that were dropped."""
    points: list[Point]
    fits: list[Fit]
    environment: dict[str, Any]
    command: list[str]
    created: str

    model_config = Record.model_config | {"populate_by_name": True}


def is_allreduce(path: Path) -> bool:
    """Whether a results.json is of such a benchmark; a file that cannot be read is not."""
    try:
        document = read_json(path, fix="")
    except RecordError:
        return False
    return isinstance(document, dict) and document.get("kind") == KIND


def read_allreduce(path: Path) -> AllreduceResults:
    """Reads results.json.

    Raises:
        RecordError: the file is missing, is not JSON, is of another version or misses a field.
    """
    fix = "measure again with `hpcdl bench allreduce`"
    document = read_json(path, fix=fix)
    version = document.get("schema") if isinstance(document, dict) else None
    if version != SCHEMA:
        raise RecordError(f"{path} with schema {version!r}", f"schema {SCHEMA}", fix)
    return parse(AllreduceResults, document, str(path), EXPECTED, fix)
