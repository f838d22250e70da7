"""How long a checkpoint delays training: the copy between two updates, and what its writing takes from those after.

    python benchmarks/checkpoints.py --data DIR [--ranks 2] [--steps 60] [--every 6] [--out FILE] RECIPE [KEY=VALUE …]

One run with a checkpoint every few updates. A checkpoint's delay is what the updates that began while it was taken and
written took above the median of those that met none, summed up. Paired so, the machine's drift hardly counts.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from document import write

from hpcdl.analysis.stats import median_interval
from hpcdl.config.load import load
from hpcdl.records import read_events

WARM_UP = 3


def delays(steps: Sequence[float], checkpoints: Sequence[tuple[int, float]]) -> tuple[list[float], float]:
    """What each checkpoint cost.

    Args:
        steps: seconds of each update.
        checkpoints: after how many updates each was taken, and how many seconds its writing took.

    Returns:
        Seconds of delay of each, and the median update's seconds where none was written.
    """
    windows = []
    for taken, seconds in checkpoints:
        stop = begin = taken
        while stop < len(steps) and sum(steps[begin:stop]) < seconds:
            stop += 1
        stop = max(stop, begin + 1)
        if begin >= WARM_UP and stop < len(steps):
            windows.append(range(begin, stop))
    met = {step for window in windows for step in window}
    plain = statistics.median(seconds for step, seconds in enumerate(steps) if step >= WARM_UP and step not in met)
    return [sum(steps[step] for step in window) - len(window) * plain for window in windows], plain


def measure(recipe: str, ranks: int, steps: int, every: int, data: str, overrides: Sequence[str]) -> dict[str, Any]:
    """One run."""
    with tempfile.TemporaryDirectory(prefix="hpcdl-checkpoints-") as place:
        out = Path(place) / "run"
        settings = [f"train.steps={steps}", "train.evaluate=false", "train.save=false", *overrides]
        settings += [f"checkpoint.every_steps={every}", "checkpoint.every_seconds=null"]
        words = ["hpcdl", "run", recipe, "-n", str(ranks), "--oversubscribe", "--data", data, "--out", str(out)]
        subprocess.run([sys.executable, "-m", *words, *settings], check=True, stdout=subprocess.DEVNULL)
        with (out / "ranks" / "0.steps.csv").open(encoding="ascii") as file:
            seconds = [float(row["step_seconds"]) for row in csv.DictReader(file)]
        written = [event for event in read_events(out / "events.jsonl", print) if event["event"] == "checkpoint"]
        size = sum(file.stat().st_size for file in max((out / "checkpoints").glob("update-*")).iterdir())
    found, plain = delays(seconds, [(event["update"], event["seconds"]) for event in written])
    delay, interval = median_interval(found), load(recipe).checkpoint.every_seconds
    return {
        "recipe": recipe,
        "settings": list(overrides),
        "ranks": ranks,
        "checkpoint_bytes": size,
        "update_seconds": plain,
        "writing_seconds": statistics.median(event["seconds"] for event in written),
        "delay_seconds": vars(delay),
        "interval_seconds": interval,
        "share_of_interval": delay.median / interval if interval else None,
    }


def main() -> None:
    """Measures, prints, and writes what was found where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--data", required=True)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=6)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    figures = measure(given.recipe, given.ranks, given.steps, given.every, given.data, given.overrides)
    print(json.dumps(figures, indent=1))
    if given.out:
        write(given.out, figures, "hpcdl", "tensorflow", "keras", "horovod")


if __name__ == "__main__":
    main()
