"""Whether the input's memory stays flat: this process's own memory after each of ten epochs of training batches.

    python benchmarks/memory.py --data DIR [--epochs 10] [--out FILE.json]

DIR holds CIFAR-10 and an ImageNet folder tree. What is counted is resident and in no file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from document import write

from hpcdl.config.schema import DataConfig
from hpcdl.data.order import shares
from hpcdl.data.pipeline import Batches
from hpcdl.data.sources.registry import load, locate
from hpcdl.launch.topology import read_topology

SETS = {
    "cifar10": (DataConfig(source="cifar10", augment=["pad-crop", "flip"]), 128),
    "imagenet": (DataConfig(source="imagenet", size=224, augment=["random-resized-crop", "flip"]), 64),
}
"""What is read, and images a batch."""


def own_mib() -> float:
    """Resident memory that belongs to no file, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def after_epochs(config: DataConfig, path: Path, batch: int, epochs: int) -> list[float]:
    """MiB after each epoch."""
    data = load(config, path)
    batches = Batches(data, data.train, config, batch, read_topology().cores)
    parts = shares(len(data.train), batch, batch, 0, 1)
    found = []
    endless = batches.epochs(parts, 0)
    for epoch in range(epochs):
        for _ in parts:
            next(endless)
        found.append(round(own_mib(), 1))
        print(f"{config.source} epoch {epoch + 1}/{epochs}: {found[-1]:,.1f} MiB", flush=True)
    return found


def main() -> None:
    """Measures, prints, and writes what was found where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {
        name: after_epochs(config, locate(name, [], [("--data", options.data)]), batch, options.epochs)
        for name, (config, batch) in SETS.items()
    }
    if options.out:
        write(options.out, {"mib_after_epoch": found}, "tensorflow", "numpy")


if __name__ == "__main__":
    main()
