"""What becomes of a run when something fails: faults at random updates, and what each kind ended in.

    python benchmarks/faults.py [--trials 200] [--out DIR] [--seed 0] [--kinds TERM,SIGKILL,…] [--ranks 2,3,4]

A trial starts a small recipe with `hpcdl run` on some ranks, with either engine, and has one rank fail before a
random update (injected/sitecustomize.py). Then the run goes on with --resume auto to its end, where its weights must
be, bit for bit, those of a run that nothing interrupted. Nothing may hang: each command has a limit.

What was found is written after each trial. Asked for the same with the same --out, it goes on after the last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
from document import write

from hpcdl import checkpoint
from hpcdl.data.sources import synth

UPDATES, STALL_SECONDS, LIMIT_SECONDS = 32, 10.0, 180.0
RECIPE = f"""
name: faults
data: {{source: cifar10, augment: [pad-crop, flip]}}
model: {{name: cifar10-cnn}}
optimizer: {{learning_rate: 0.01, momentum: 0.9}}
train:
  {{epochs: 8, global_batch: 64, micro_batch: 16, deterministic: true, evaluate: end, stall_timeout: {STALL_SECONDS}}}
checkpoint: {{every_steps: 5, every_seconds: null, keep: 3}}
launch: {{threads: 1}}
"""
IN_ORDER = [f"{name} on {target}" for name in ("TERM", "INT", "USR2") for target in ("the launcher", "a rank")]
FAILING = ["exception", "CUDA error", "os._exit(3)", "os._exit(0)", "SIGKILL", "SIGSEGV", "memory"]
SILENT = ["SIGSTOP", "endless loop", "stuck read", "another collective"]
DAMAGED = ["truncated checkpoint", "flipped bit", "missing file"]
KINDS = [*IN_ORDER, *FAILING, *SILENT, *DAMAGED]
END_SECONDS = dict.fromkeys(IN_ORDER, 100.0) | dict.fromkeys([*FAILING, *DAMAGED], 30.0)
END_SECONDS |= dict.fromkeys(SILENT, STALL_SECONDS + 30.0)
"""Within which all ranks must have gone, from the fault on."""


@dataclass
class Row:
    """What the trials of one kind ended in; all but trials and seconds must be 0."""

    trials: int = 0
    hung: int = 0
    late: int = 0
    wrong_code: int = 0
    corrupt_loaded: int = 0
    differs: int = 0
    unjudged: int = 0
    """The trial itself failed: the fault did not come, or a file to compare was not there."""
    seconds: list[float] = field(default_factory=list)
    """From the fault to the end of the command."""

    @property
    def good(self) -> bool:
        return not (self.hung or self.late or self.wrong_code or self.corrupt_loaded or self.differs or self.unjudged)


class Bench:
    """A folder with data, a recipe, and the weights that nothing interrupted."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.data = synth.cifar(place / "data", train=250, test=60)
        (place / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        whole = self.run(place / "whole", "mpi", 2)
        assert whole.returncode == 0, whole.stderr
        self.weights = last_weights(place / "whole")

    def run(
        self, out: Path, engine: str, ranks: int, fault: dict[str, Any] | None = None, *more: str
    ) -> subprocess.CompletedProcess[str]:
        """`hpcdl run`, with a fault; its process number is where injected code finds it."""
        environ = dict(os.environ)
        if fault:
            environ |= {
                "PYTHONPATH": str(Path(__file__).with_name("injected")),
                "HPCDL_FAULT": json.dumps(fault),
                "HPCDL_FAULT_LAUNCHER": f"{out}.pid",
                "HPCDL_FAULT_TIME": f"{out}.time",
            }
        words = ["hpcdl", "run", str(self.place / "recipe.yaml"), "-n", str(ranks), "--oversubscribe"]
        words += ["--engine", engine, "--data", str(self.data), "--out", str(out), *more]
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        Path(f"{out}.pid").write_text(str(process.pid), encoding="ascii")
        try:
            told = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            end(process)
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, *told)


def trial(bench: Bench, kind: str, engine: str, ranks: int, dice: random.Random, row: Row) -> None:
    """One fault, and the run that goes on after it."""
    row.trials += 1
    out = Path(tempfile.mkdtemp(prefix="trial-", dir=bench.place)) / "run"
    # Damage needs a checkpoint: the first is taken after 5 updates, and written by the time of the second.
    update = dice.randrange(11 if kind in DAMAGED else 6, UPDATES - 1)
    fault = {"kind": "SIGKILL" if kind in DAMAGED else kind, "rank": dice.randrange(ranks), "update": update}
    try:
        ended = bench.run(out, engine, ranks, fault)
        seconds = time.time() - float(Path(f"{out}.time").read_text(encoding="ascii"))
        row.seconds.append(seconds)
        row.late += seconds > END_SECONDS[kind] or bool(left(out))
        row.wrong_code += ended.returncode != (75 if kind in IN_ORDER else 1)
        hurt = damage(kind, out / "checkpoints", dice) if kind in DAMAGED else None
        went_on = bench.run(out, engine, ranks, None, "--resume", "auto")
        row.wrong_code += went_on.returncode != 0
        if hurt:
            [began] = [event for event in events(out) if event["event"] == "restart"]
            row.corrupt_loaded += began.get("checkpoint") == hurt
        ours = last_weights(out)
        row.differs += ours.keys() != bench.weights.keys() or any(
            not np.array_equal(ours[name], bench.weights[name]) for name in ours
        )
        if not row.good:
            print(f"{kind}, {engine}, {ranks} ranks, {fault}:\n{ended.stderr}\n{went_on.stderr}", file=sys.stderr)
    except subprocess.TimeoutExpired as error:
        row.hung += 1
        print(f"{kind}, {engine}, {ranks} ranks, {fault} hung: {error}", file=sys.stderr)
    except (OSError, ValueError, KeyError) as error:
        row.unjudged += 1
        print(f"{kind}, {engine}, {ranks} ranks, {fault} cannot be judged: {error!r}", file=sys.stderr)
    finally:
        shutil.rmtree(out.parent, ignore_errors=True)


def damage(kind: str, checkpoints: Path, dice: random.Random) -> str:
    """Harms the newest checkpoint; answers its name."""
    newest = max(path for path in checkpoints.iterdir() if checkpoint.NAME.fullmatch(path.name))
    file = dice.choice([path for path in newest.iterdir() if path.stat().st_size])
    data = bytearray(file.read_bytes())
    match kind:
        case "truncated checkpoint":
            file.write_bytes(data[: dice.randrange(len(data))])
        case "flipped bit":
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            file.write_bytes(data)
        case _:
            file.unlink()
    return newest.name


def last_weights(out: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Of the checkpoint after the last update."""
    found: dict[str, np.ndarray[Any, Any]] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(out / "checkpoints" / f"update-{UPDATES:08d}" / "model.weights.h5") as file:
        file.visititems(add)
    return found


def events(out: Path) -> list[dict[str, Any]]:
    """The run's events."""
    return [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def left(out: Path) -> list[int]:
    """Processes of a run that are still there."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(out) in words and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def end(process: subprocess.Popen[str]) -> None:
    """Ends a launcher and all that it has started."""
    for each in psutil.Process(process.pid).children(recursive=True):
        each.kill()
    process.kill()
    process.wait()


def spread(kinds: Sequence[str], trials: int, sizes: Sequence[int] = (2, 3, 4)) -> list[tuple[str, str, int]]:
    """(kind, engine, ranks) of each trial: all kinds alike, engines and rank counts in turns."""
    ways = [(engine, ranks) for ranks in sizes for engine in ("horovod", "mpi")]
    return [
        (kinds[number % len(kinds)], *ways[(number // len(kinds) + number) % len(ways)]) for number in range(trials)
    ]


def earlier(path: Path, asked: dict[str, Any], kinds: Sequence[str]) -> tuple[int, dict[str, Row]]:
    """How many of these trials a file has, and what became of them by kind."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["asked"] != asked or list(found["kinds"]) != list(kinds):
        raise SystemExit(f"{path} has other trials, {found['asked']} of {list(found['kinds'])}: choose another --out")
    for row in found["kinds"].values():
        del row["limit_seconds"]
    return found["made"], {kind: Row(**row) for kind, row in found["kinds"].items()}


def main() -> int:
    """Runs the trials, prints the table, and writes it where asked; answers 1 where anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=len(KINDS), help="in all, spread over the kinds")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--ranks", default="2,3,4", help="in turns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    kinds = given.kinds.split(",")
    sizes = [int(size) for size in given.ranks.split(",")]
    asked = {"trials": given.trials, "seed": given.seed, "ranks": sizes, "stall_timeout": STALL_SECONDS}
    made, rows = 0, {kind: Row() for kind in kinds}
    if given.out and (given.out / "results.json").exists():
        made, rows = earlier(given.out / "results.json", asked, kinds)
    with tempfile.TemporaryDirectory(prefix="hpcdl-faults-") as place:
        bench = Bench(Path(place))
        rest = spread(kinds, given.trials, sizes)[made:]
        for number, (kind, engine, ranks) in enumerate(rest, start=made + 1):
            trial(bench, kind, engine, ranks, random.Random(f"{given.seed} {number}"), rows[kind])
            print(f"{number}/{given.trials} {kind}, {engine}, {ranks} ranks", file=sys.stderr, flush=True)
            if given.out:
                figures = {kind: {**vars(row), "limit_seconds": END_SECONDS[kind]} for kind, row in rows.items()}
                facts = {"asked": asked, "made": number, "kinds": figures}
                write(given.out / "results.json", facts, "hpcdl", "tensorflow", "keras", "horovod", "mpi4py")
    columns = ("trials", "hung", "late", "wrong_code", "corrupt_loaded", "differs", "unjudged")
    print(f"{'kind':22}", *(f"{name:>14}" for name in columns), f"{'slowest end':>14}")
    for kind, row in rows.items():
        slowest = f"{max(row.seconds, default=0.0):.1f} s"
        print(f"{kind:22}", *(f"{getattr(row, name):>14}" for name in columns), f"{slowest:>14}")
    return 0 if all(row.good for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
