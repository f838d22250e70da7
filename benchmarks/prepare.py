"""How long shards take to write and to check: `hpcdl data prepare`, then `hpcdl data verify`, as whole commands.

    python benchmarks/prepare.py --data DIR [--repeats 3] [--out FILE.json]

DIR holds CIFAR-10 and an ImageNet folder tree. Seconds are medians.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from document import write

CASES = {
    "CIFAR-10 as pixels": ("cifar10",),
    "photographs as they are": ("imagenet",),
    "photographs, short side 256, JPEG": ("imagenet", "--size", "256"),
    "photographs, short side 256, pixels": ("imagenet", "--size", "256", "--store", "pixels"),
}


def timed(*arguments: str) -> tuple[dict[str, Any], float]:
    """What an hpcdl command answers, and its seconds."""
    began = perf_counter()
    done = subprocess.run([sys.executable, "-m", "hpcdl", *arguments, "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout), perf_counter() - began


def measure(words: tuple[str, ...], data: str, repeats: int) -> dict[str, Any]:
    """Images, MiB of the folder and seconds of one case."""
    written, checked = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch) / "shards"
            _, seconds = timed("data", "prepare", *words, "--data", data, "--out", str(place))
            written.append(seconds)
            found, seconds = timed("data", "verify", str(place))
            checked.append(seconds)
            size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return {
        "command": " ".join(("hpcdl data prepare", *words)),
        "verify": found,
        "mib": round(size / 2**20, 1),
        "prepare_seconds": {"median": round(median(written), 2), "samples": written},
        "verify_seconds": {"median": round(median(checked), 2), "samples": checked},
    }


def main() -> None:
    """Measures each case, prints it, and writes what was found where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {}
    for name, words in CASES.items():
        row = found[name] = measure(words, options.data, options.repeats)
        write_s, check_s = row["prepare_seconds"]["median"], row["verify_seconds"]["median"]
        print(f"{name}: {row['mib']} MiB, prepare {write_s} s, verify {check_s} s", flush=True)
    if options.out:
        write(options.out, {"cases": found}, "numpy", "pillow")


if __name__ == "__main__":
    main()
