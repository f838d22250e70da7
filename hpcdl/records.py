"""The record types that join training, benchmark and report: their version, reader and writer.

Training and benchmarks write these; analysis and report read them. Nothing parses a log.
A file is written beside its place and renamed, so it is whole or absent; a stream of events
is appended line by line, and a torn line is left out with a note.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpcdl.errors import RecordError

SCHEMA = 2
STARTS = "starts.jsonl"
"""The file in which a scaling study tells how far it is."""


class Record(BaseModel):
    """A frozen value; a key that this version does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Kind = TypeVar("Kind", bound=Record)


class Interval(Record):
    """A median with the bootstrap 95 % interval of the median, and the samples behind it."""

    median: float
    low: float
    high: float
    samples: list[float]


STEP_PARTS = ("step", "input", "compute", "communication", "cpu")
"""Of what each rank records the seconds, step by step; the fields of RankTiming."""


class RankTiming(Record):
    """One rank's measured steps (after warm-up), in seconds a step, in step order."""

    rank: int
    host: str
    node: int
    local_rank: int
    cpus: list[int]
    """The logical processors that the rank was allowed to run on."""
    step: list[float]
    """End of one step to the end of the next; an epoch's first step begins with the epoch."""
    input: list[float]
    """Waiting for the batch."""
    compute: list[float]
    """From the batch until this rank's last gradient."""
    communication: list[float]
    """Exposed: from this rank's last gradient until the averaged gradients are there. It holds
    the wait for slower ranks. What is left of a step is the update, and Python."""
    cpu: list[float]
    """Processor seconds of this process, in all its threads."""


class Usage(Record):
    """What the measured steps of one start took of one node; None where the machine does not tell."""

    node: int
    host: str
    cpu_percent: float
    """Of one processor, by all ranks of the node together: 200 is two of them, always busy."""
    memory_gib: float | None
    """Largest resident memory of all ranks together; pages that they share count for each."""
    gpu_percent: float | None
    """Mean over time and GPUs (NVML)."""
    gpu_memory_gib: float | None
    """Largest, added up over GPUs."""
    energy_joules: float | None
    """Of processors (RAPL) and GPUs (NVML), as far as they tell; all that ran on the node is in it."""
    absent: list[str]
    """What the machine does not tell, and why, as "energy: no RAPL counter in /sys/class/powercap"."""


class Repetition(Record):
    """One start of all ranks: warm-up, then the measured steps."""

    index: int
    run: str
    """Folder of the run's own records, relative to the results file."""
    started: str
    """ISO 8601, UTC."""
    warmup_steps: int
    steps: int
    """Measured steps."""
    seconds: float
    """Measured steps on the slowest rank."""
    images: int
    """Images in the measured steps, over all ranks."""
    images_per_s: float
    allreduce_bytes: int
    """That a rank hands to the allreduce in an update, as they travel; 0 for one rank."""
    usage: list[Usage]
    """Of each node."""
    ranks: list[RankTiming]


class StepSeconds(Record):
    """Seconds a step: medians over every measured step of every rank and repetition."""

    median: float
    p95: float
    input: float
    communication: float
    compute: float
    other: float
    """Median of what is left of a step without input wait, compute and exposed communication."""


class Measurement(Record):
    """One point of a scaling study."""

    engine: str
    ranks: int
    nodes: int
    mode: str
    """"weak": the batch a rank stays; "strong": the global batch stays."""
    recipe: str
    input: str
    """"real" images, a "stand-in" for them that was made and is read as they are, or "synthetic": random pixels in
    memory, without reading, decoding or augmenting."""
    global_batch: int
    micro_batch: int
    threads: int
    """Compute threads a rank."""
    cores: int
    """Logical processors that all ranks could share."""
    images_per_s: Interval
    speedup: float
    """Ratio of median images/s to the base's (the fewest ranks of the same engine, mode, recipe, input)."""
    speedup_interval: tuple[float, float]
    efficiency: float
    """speedup / (ranks / ranks of the base)."""
    efficiency_interval: tuple[float, float]
    base_ranks: int
    step_seconds: StepSeconds
    communication_share: float
    """Exposed communication over step time, of all measured steps."""
    allreduce_bytes: int
    """As in its repetitions."""
    epoch_images: int | None = None
    """Training images of an epoch; None for synthetic input, and in records that do not tell it."""
    repetitions: list[Repetition]


class ToAccuracy(Record):
    """How long training took to reach a test accuracy; each start trains from the beginning."""

    engine: str
    ranks: int
    nodes: int
    recipe: str
    input: str
    global_batch: int
    target: float
    reached: int
    """Starts that reached it."""
    seconds: Interval | None
    """From the first update, evaluations included, of the starts that reached it; None: none did."""
    epochs: list[float]
    """Of each start that reached it."""
    best: list[float]
    """Best test accuracy of each start."""
    runs: list[str]
    """Folders of the runs' own records, relative to the results file."""


class Results(Record):
    """A benchmark's results.json."""

    schema_: int = Field(SCHEMA, alias="schema")
    results: list[Measurement]
    accuracy: list[ToAccuracy] = []
    environment: dict[str, Any]
    command: list[str]
    created: str
    config: dict[str, Any]
    """The resolved recipe that the study varied."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def read_results(path: Path) -> Results:
    """Reads results.json.

    Raises:
        RecordError: the file is missing, is not JSON, is of another version or misses a field.
    """
    fix = "measure again with `hpcdl bench scaling`, or name the folder that holds results.json"
    document = read_json(path, fix=fix)
    version = document.get("schema") if isinstance(document, dict) else None
    if version != SCHEMA:
        raise RecordError(
            f"{path} with schema {version!r}",
            f"schema {SCHEMA}, which this hpcdl reads and writes",
            "use the hpcdl version that wrote it, or measure again",
        )
    return parse(Results, document, str(path), f"a results record of schema {SCHEMA}", fix)


def parse(kind: type[Kind], document: Any, where: str, expected: str, fix: str) -> Kind:
    """A record of what JSON held.

    Raises:
        RecordError: a field is missing, unknown or of another type.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{where}: {place}: {first['msg']}", expected, fix) from None


def read_json(path: Path, *, fix: str) -> Any:
    """Reads one JSON file; a missing, unreadable or torn file is a RecordError that ends with `fix`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"no file {path}", "a record that a run or benchmark wrote", fix) from None
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}", "a readable file", fix) from None
    except ValueError as error:
        raise RecordError(f"{path}: not JSON ({error})", "a complete JSON file", fix) from None


def write_json(path: Path, document: BaseModel | dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    data = document.model_dump(mode="json", by_alias=True) if isinstance(document, BaseModel) else document
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all: beside its place, flushed to disk, renamed."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: beside its place, flushed to disk, renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def dated(event: dict[str, Any]) -> dict[str, Any]:
    """An event with the time of now, UTC."""
    return {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}


def append_event(path: Path, event: dict[str, Any]) -> None:
    """Appends one event as one line."""
    append_text(path, event_line(event))


def event_line(event: dict[str, Any]) -> str:
    """An event as it is written."""
    return json.dumps(event, allow_nan=False) + "\n"


def append_text(path: Path, text: str, header: str = "") -> None:
    """Appends whole lines, or nothing where the file system refuses; after a torn line, on lines of their own.

    Args:
        path: the file, made where it is not there.
        text: the lines.
        header: what an empty file gets first.
    """
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(number).st_size
        torn = size > 0 and os.pread(number, 1, size - 1) != b"\n"
        left = (("\n" if torn else "" if size else header) + text).encode("utf-8")
        try:
            while left:
                left = left[os.write(number, left) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(number, size)
            raise
    finally:
        os.close(number)


def read_event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None where the line is torn."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def latest_events(path: Path, tell: Callable[[str], object]) -> dict[str, dict[str, Any]]:
    """The latest event of each kind, as read_events reads them."""
    return {str(event["event"]): event for event in read_events(path, tell)}


def read_events(path: Path, tell: Callable[[str], object]) -> list[dict[str, Any]]:
    """All events in their order; none where no event was written yet.

    Args:
        path: the stream.
        tell: hears once if lines are torn, which are left out.
    """
    found, torn = list[dict[str, Any]](), 0
    try:
        with path.open("rb") as file:
            for line in filter(bytes.strip, file):
                if event := read_event(line):
                    found.append(event)
                else:
                    torn += 1
    except FileNotFoundError:
        return []
    if torn:
        tell(torn_note(path, torn))
    return found


def torn_note(path: Path, torn: int) -> str:
    """What a reader of events says of lines that it left out."""
    return f"{path}: {torn} torn line{'' if torn == 1 else 's'} left out"
