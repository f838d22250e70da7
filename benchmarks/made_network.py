"""Whether the network model and its simulation foretell steps over networks made on this machine, where all is known.

    python benchmarks/made_network.py --out DIR [--data DIR] [--rates 100mbit,1gbit,10gbit] [--repeats 3]  (as root)

For each rate, two hosts of one rank each: `hpcdl bench allreduce` fits alpha and beta of the link, `hpcdl bench
scaling` times the steps of WORKS on one rank and on two. Foretold from those figures, without looking at steps of two
ranks: a step is the one rank's, the wait for the slower of two, and what of the allreduce does not hide behind the
backward pass. `simulated` plays it event by event, `formula` adds it up; both against the measured steps.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from document import machine, write

from hpcdl.allreduce import Fit, read_allreduce
from hpcdl.analysis import network
from hpcdl.analysis.network import Cost
from hpcdl.analysis.simulate import Machine, simulate
from hpcdl.analysis.stepmodel import BACKWARD
from hpcdl.records import Measurement, read_results, write_text

ENGINE = "horovod"
"""Which reduces while the backward pass goes on."""
WORKS = {
    "ResNet-20, one bucket": ["cifar10-resnet20", "train.global_batch=64", "train.micro_batch=64"],
    "ResNet-20, buckets of 0.25 MiB": [
        "cifar10-resnet20", "train.global_batch=64", "train.micro_batch=64", "engine.bucket_mb=0.25"
    ],
    "mnist-mlp-512": ["mnist-mlp-512", "train.global_batch=400", "train.micro_batch=400"],
    "cifar10-cnn": ["cifar10-cnn", "train.global_batch=256", "train.micro_batch=256"],
    "ResNet-50, batch 4": ["imagenet-resnet50", "train.global_batch=4", "train.micro_batch=4"],
}  # fmt: skip
"""Recipe and batch of one rank; from nearly no communication to hardly anything else."""
SLOWEST = {"ResNet-50, batch 4": "1gbit"}
"""Rates below which a work is left out: 102 MB would take 20 s a step."""
RATES = ("100mbit", "1gbit", "10gbit")
STEPS = 2000
"""Simulated."""


def hpcdl(*words: str) -> None:
    """Runs a command, whose answer is in its folder."""
    subprocess.run([sys.executable, "-m", "hpcdl", *words], check=True, stdout=subprocess.DEVNULL)


def foretold(one: Measurement, two: Measurement, fit: Fit, bucket_bytes: float) -> dict[str, float]:
    """Seconds of a step of two ranks, from those of one, the sizes of what is summed, and the link's cost."""
    own = np.array([t for each in one.repetitions for rank in each.ranks for t in rank.step])
    low, middle, high = np.percentile(own, [16.0, 50.0, 84.0])
    spread = float(0.5 * (high - low) / middle)
    buckets = max(1, math.ceil(two.allreduce_bytes / bucket_bytes))
    cost = Cost(max(fit.alpha.value, 0.0), fit.beta.value)
    reduction = float(network.ring(two.allreduce_bytes, 2, Cost(0.0, cost.beta))) + buckets * float(
        network.ring(0.0, 2, Cost(cost.alpha, 0.0))
    )
    backward = BACKWARD * float(middle)
    played = Machine(compute=float(middle), backward=backward, rank_spread=spread, buckets=buckets, reduction=reduction)
    waiting = float(middle) * spread * network.expected_maximum(2)
    return {
        "one_rank": float(middle),
        "reduction": reduction,
        "formula": float(middle) + waiting + float(network.exposed_equal(reduction, buckets, backward)),
        "simulated": float(np.median(simulate(played, 2, STEPS))),
    }


def measure(
    rate: str, work: str, recipe: Sequence[str], fit: Fit, folder: Path, options: Sequence[str]
) -> dict[str, Any]:
    """One work over one network."""
    made = ["--made-hosts", "2", "--made-rate", rate]
    hpcdl(
        "bench", "scaling", *recipe, "--ranks", "1,2", "--engine", ENGINE, "--input", "synthetic", *made, *options,
        "--out", str(folder), "--resume",
    )  # fmt: skip
    results = read_results(folder / "results.json")
    one, two = sorted(results.results, key=lambda m: m.ranks)
    bucket = float(results.config["engine"]["bucket_mb"]) * 2**20
    samples = [float(np.median([t for rank in each.ranks for t in rank.step])) for each in two.repetitions]
    measured = float(np.median(samples))
    figures = foretold(one, two, fit, bucket)
    return {
        "rate": rate,
        "work": work,
        "allreduce_bytes": two.allreduce_bytes,
        "measured": measured,
        "samples": samples,
        **figures,
        "errors": {name: figures[name] / measured - 1.0 for name in ("one_rank", "formula", "simulated")},
    }


def table(rows: Sequence[dict[str, Any]], fits: dict[str, Fit]) -> str:
    """Markdown."""
    lines = ["| network | α, µs | β, 1/β in MB/s |", "|---|---|---|"]
    for rate, fit in fits.items():
        alpha, beta = fit.alpha, fit.beta
        lines.append(
            f"| {rate} | {1e6 * alpha.value:.0f} [{1e6 * alpha.low:.0f}, {1e6 * alpha.high:.0f}] "
            f"| {1e-6 / beta.value:.1f} [{1e-6 / beta.high:.1f}, {1e-6 / beta.low:.1f}] |"
        )
    lines += [
        "",
        "| network | work | MB a step | step of one rank, ms | of two, ms | formula | simulated |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['rate']} | {row['work']} | {row['allreduce_bytes'] / 1e6:.2f} | {1e3 * row['one_rank']:.0f} "
            f"| {1e3 * row['measured']:.0f} | {row['errors']['formula']:+.1%} | {row['errors']['simulated']:+.1%} |"
        )
    medians = {name: np.median([abs(row["errors"][name]) for row in rows]) for name in ("formula", "simulated")}
    lines += ["", f"Median error: formula {medians['formula']:.1%}, simulation {medians['simulated']:.1%}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures what DIR does not hold yet, and writes results.json and README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default=os.environ.get("HPCDL_DATA", "data"))
    parser.add_argument("--rates", default=",".join(RATES))
    parser.add_argument("--repeats", default="3")
    parser.add_argument("--steps", default="15")
    parser.add_argument("--scratch", type=Path, default=Path("runs/made-network"), help="for the runs' own records")
    options = parser.parse_args()
    fits: dict[str, Fit] = {}
    rows = []
    for rate in options.rates.split(","):
        sums = options.scratch / rate / "sums"
        if not (sums / "results.json").exists():
            hpcdl(
                "bench", "allreduce", "--ranks", "2", "--engines", ENGINE, "--bytes", "4KiB,64KiB,1MiB,8MiB",
                "--repeats", options.repeats, "--made-hosts", "2", "--made-rate", rate,
                "--out", str(sums), "--overwrite",
            )  # fmt: skip
        (fits[rate],) = [each for each in read_allreduce(sums / "results.json").fits if each.engine == ENGINE]
        for work, recipe in WORKS.items():
            if work in SLOWEST and RATES.index(rate) < RATES.index(SLOWEST[work]):
                continue
            folder = options.scratch / rate / recipe[0] / str(len(recipe))
            chosen = ["--data", options.data, "--repeats", options.repeats, "--steps", options.steps]
            rows.append(measure(rate, work, recipe, fits[rate], folder, chosen))
            print(table(rows[-1:], {}).splitlines()[-3], flush=True)
    write(options.out / "results.json", {"fits": {r: f.model_dump() for r, f in fits.items()}, "rows": rows}, "horovod")
    write_text(options.out / "README.md", f"{machine()}, `python benchmarks/made_network.py`\n\n{table(rows, fits)}")
    print((options.out / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
