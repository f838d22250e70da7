"""How far a recipe's result depends on its start: trains it from many seeds, on one rank, and ranks them.

    python benchmarks/starts.py RECIPE --data DIR --seeds 0-99 [--epochs N] [--evaluate] [--out FILE.json]

The best start is the one whose training accuracy in the last epoch is the highest. Test images have no part in
that choice; --evaluate tells how they come out, for the range over starts.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from document import write

from hpcdl.cli import prepare
from hpcdl.config.load import load
from hpcdl.data.images import ImageSet
from hpcdl.data.sources import registry as sources
from hpcdl.training.session import join
from hpcdl.training.timing import StepTimes
from hpcdl.training.trainer import Trainer

Row = dict[str, float]


def seeds(text: str) -> list[int]:
    """Single seeds and first-last, both included, between commas."""
    spans = [part.partition("-") for part in text.split(",")]
    return [seed for first, _, last in spans for seed in range(int(first), int(last or first) + 1)]


def trained(recipe: str, seed: int, epochs: int, evaluate: bool, data: ImageSet) -> Row:
    """Accuracies after the last epoch of one start."""
    values = [f"train.seed={seed}", f"train.epochs={epochs}", f"train.evaluate={str(evaluate).lower()}"]
    config = prepare.recipe(recipe, [*values, "launch.threads=1"], 1, "single")
    with StepTimes(Path(os.devnull)) as times:
        summary = Trainer(config, data, join({}, "single"), times, lambda event: None).train()
    return {"seed": seed} | {name: summary[name] for name in ("accuracy", "test_accuracy") if name in summary}


def main() -> None:
    """Trains each start, prints them best first, and writes what was found where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=seeds, required=True)
    parser.add_argument("--epochs", type=int, help="the recipe's own where none are given")
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    config = load(options.recipe)
    data = sources.load(config.data, sources.locate(config.data.source, [], [("--data", options.data)]))
    epochs = options.epochs or config.train.epochs
    rows = []
    for seed in options.seeds:
        rows.append(trained(options.recipe, seed, epochs, options.evaluate, data))
        print(rows[-1], flush=True)
    rows.sort(key=lambda row: -row["accuracy"])
    best: dict[str, Any] = {"recipe": options.recipe, "epochs": epochs, "best_seed": rows[0]["seed"], "starts": rows}
    print(f"best by training accuracy: {rows[0]}")
    if options.out:
        write(options.out, best, "tensorflow", "keras", "numpy")


if __name__ == "__main__":
    main()
