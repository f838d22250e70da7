"""What each recipe reaches, and in what time: runs recipes to their end and writes a table.

    python benchmarks/recipes.py --out DIR [--data DIR] [--ranks 1,2] [--seeds 0,1,2] [RECIPE …]

Each run is `hpcdl run RECIPE -n RANKS` with nothing changed but, where asked for, the seed. What
DIR/results.json holds already is not run again. Without names: all recipes whose data are found. Under
`taskset -c 0` one rank has one core, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from document import machine

from hpcdl.config.load import load, recipe_names
from hpcdl.data.sources.registry import locate
from hpcdl.errors import DataError
from hpcdl.launch.topology import read_topology
from hpcdl.records import write_json, write_text

Row = dict[str, Any]


def run(recipe: str, ranks: int, seed: int, place: Path) -> Row:
    """One run: command, test accuracy at the end and at best, seconds of the training and of the whole command."""
    command = ["hpcdl", "run", recipe, "-n", str(ranks)]
    if seed != load(recipe).train.seed:
        command.append(f"train.seed={seed}")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        began = datetime.now(UTC)
        done = subprocess.run(
            [sys.executable, "-m", *command, "--data", str(place), "--out", str(out), "--json"],
            check=True,
            stdout=subprocess.PIPE,
        )
        whole = (datetime.now(UTC) - began).total_seconds()
        summary = json.loads(done.stdout)
        events = [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
        environment = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    epochs = [event for event in events if event["event"] == "epoch"]
    return {
        "recipe": recipe,
        "ranks": ranks,
        "seed": seed,
        "command": " ".join(command),
        "engine": summary["engine"],
        "data": environment["data"],
        "synthetic": environment["synthetic"],
        "epochs": len(epochs),
        "test_accuracy": summary["test_accuracy"],
        "best_test_accuracy": max(event["test_accuracy"] for event in epochs if "test_accuracy" in event),
        "stopped": summary.get("stopped"),
        "train_seconds": summary["seconds"],
        "command_seconds": whole,
        "images_per_s": summary["images_per_s"],
        "versions": environment["versions"],
        "date": began.isoformat(timespec="seconds"),
        "cores": read_topology().cores,
        "machine": machine(),
    }


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, in the order of the recipes."""
    lines = [
        "| command | cores | data | epochs | test accuracy | best | seconds | of the whole command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=_key):
        kind = "synthetic stand-in" if row["synthetic"] else "real"
        lines.append(
            f"| `{row['command']}` | {row['cores']} | {kind} | {row['epochs']} | {row['test_accuracy']:.4f} "
            f"| {row['best_test_accuracy']:.4f} | {row['train_seconds']:.0f} | {row['command_seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _key(row: Row) -> tuple[str, int, int]:
    return row["recipe"], row["ranks"], row["seed"]


def main() -> None:
    """Runs what is missing, and writes results.json and README.md after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default=os.environ.get("HPCDL_DATA", "data"))
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--seeds", help="the recipe's own where none are given")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "results.json"
    rows: list[Row] = json.loads(kept.read_text(encoding="utf-8"))["runs"] if kept.exists() else []
    for recipe in options.recipes or recipe_names():
        try:
            own = load(recipe)
            place = locate(own.data.source, [("--data", options.data)], [])
        except DataError as error:
            print(f"{recipe}: left out, {error.received}", flush=True)
            continue
        seeds = map(int, options.seeds.split(",")) if options.seeds else [own.train.seed]
        wanted = product(seeds, map(int, options.ranks.split(",")))
        for seed, ranks in wanted:
            if (recipe, ranks, seed) in map(_key, rows):
                continue
            rows.append(run(recipe, ranks, seed, place))
            write_json(kept, {"schema": 1, "runs": rows})
            write_text(options.out / "README.md", table(rows))
            print(table(rows[-1:]).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
