"""What the books' CIFAR-10 networks reach with Keras alone, on the pixels that the recipes read.

    taskset -c 0 python benchmarks/printed.py RECIPE --data DIR --out FILE.json [--seeds 0,1,2]

An answer that owes nothing to hpcdl: layers, reading and training are written here as the notebook has them
(J. Torres, "Análisis predictivo con IA"). It tells whether a recipe that stays below the printed figure does so for
its pixels or for hpcdl.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from document import write
from keras import layers
from numpy.typing import NDArray

DROPOUT = {"cifar10-cnn": 0.0, "cifar10-cnn-dropout": 0.2}
EPOCHS = {"cifar10-cnn": 20, "cifar10-cnn-dropout": 10}
Images = NDArray[np.float32]
Labels = NDArray[np.uint8]


def read(files: list[Path]) -> tuple[Images, Labels]:
    """Images [N, 32, 32, 3] in [0, 1] and labels [N] of the official binary files."""
    rows = np.concatenate([np.fromfile(each, np.uint8).reshape(-1, 3073) for each in files])
    pixels = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return pixels.astype(np.float32) / 255, rows[:, 0]


def network(recipe: str) -> Any:
    """Three convolutions and their dense layers, compiled."""
    rate = DROPOUT[recipe]
    stack: list[Any] = [keras.Input((32, 32, 3))]
    for filters in (32, 64, 64):
        stack += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D(padding="same")]
        stack += [layers.Dropout(rate)] if rate else []
    stack += [layers.Flatten()]
    stack += [layers.Dense(128, activation="relu")] if rate else []
    stack += [layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")]
    model = keras.Sequential(stack)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    """Trains once for each seed; the file is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=sorted(EPOCHS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0")
    options = parser.parse_args()
    place = options.data / "cifar-10-batches-bin"
    if not place.is_dir():
        parser.error(f"no {place}; --data must hold cifar-10-batches-bin, the official binary version of CIFAR-10")
    train = read([place / f"data_batch_{number}.bin" for number in range(1, 6)])
    test = read([place / "test_batch.bin"])
    rows: list[dict[str, Any]] = []
    for seed in map(int, options.seeds.split(",")):
        keras.utils.set_random_seed(seed)
        model, began = network(options.recipe), time.monotonic()
        history = model.fit(
            *train, batch_size=32, epochs=EPOCHS[options.recipe], validation_data=test, verbose=0
        ).history["val_accuracy"]
        rows.append(
            {
                "recipe": options.recipe,
                "seed": seed,
                "parameters": model.count_params(),
                "test_accuracy": history[-1],
                "best_test_accuracy": max(history),
                "seconds": time.monotonic() - began,
            }
        )
        print(rows[-1], flush=True)
        write(options.out, {"runs": rows}, "keras", "tensorflow")


if __name__ == "__main__":
    main()
