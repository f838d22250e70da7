"""ResNet-20 on CIFAR-10 with plain Keras: one process, model.fit, all cores, as a user would write it.

python benchmarks/peers/plain_keras.py DATA STEPS WARMUP   prints images/s after the warm-up.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import keras
import numpy as np

from hpcdl.data.images import Images
from hpcdl.data.sources import cifar
from hpcdl.models.registry import build

BATCH = 128


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """When each step ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.ends.append(perf_counter())


def main() -> None:
    """Trains and prints."""
    steps, warmup = int(sys.argv[2]), int(sys.argv[3])
    images = cast(Images, cifar.load(Path(sys.argv[1])).train)
    count = (steps + warmup) * BATCH
    x = ((images.pixels[:count] / 255.0 - cifar.CIFAR10.mean) / np.array(cifar.CIFAR10.std)).astype("float32")
    model = build("resnet20", (32, 32, 3), 10)
    model.compile(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=5e-4),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    clock = Clock()
    model.fit(x, images.labels[:count], batch_size=BATCH, epochs=1, callbacks=[clock], verbose=0)
    print(BATCH * steps / (clock.ends[-1] - clock.ends[warmup - 1]))


if __name__ == "__main__":
    main()
