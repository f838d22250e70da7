"""A user's script whose fit has all that has a state: arguments are its folder, what harms it, and the data's kind.

Dropout, moving statistics, Adam, early stopping, a falling rate, a last batch that is smaller, and shuffled validation
data.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from time import sleep
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import hpcdl

world = hpcdl.init()
folder, harm, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
random = np.random.default_rng(0)
x = random.standard_normal((330, 20)).astype("float32")
y = (x.sum(axis=1) + random.standard_normal(330) > 0).astype("int32")
HARMED = folder / "harmed"
# How many batches, or groups of steps_per_execution=3, are done then: in the third epoch, before it can end early.
MADE = 8 if kind == "executions" else 21


class Harm(keras.callbacks.Callback):  # type: ignore[misc]
    """Does something to the last rank, once."""

    made = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.made += 1
        if self.made < MADE or world.rank < world.size - 1 or HARMED.exists():
            return
        if harm != "none":
            HARMED.touch()
        if harm == "signal":
            os.kill(os.getpid(), signal.SIGUSR2)
        elif harm == "death":
            os._exit(3)
        elif harm == "silence":
            sleep(3600)


def built() -> keras.Model:
    """A network that is compiled."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    # What depends on how many samples a rank has, "plain" does without.
    special = [] if kind == "plain" else [layers.BatchNormalization(), layers.Dropout(0.3)]
    dense = layers.Dense(32, "relu"), layers.Dense(2, "softmax")
    model = keras.Sequential([layers.Input((20,)), dense[0], *special, dense[1]])
    model.compile(
        optimizer=hpcdl.distribute(keras.optimizers.Adam(0.08)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=3 if kind == "executions" else 1,
    )
    return model


own: Any = (x[:250], y[:250])
train = hpcdl.shard(tf.data.Dataset.from_tensor_slices(own) if kind == "dataset" else own, global_batch=32, seed=5)
validation = hpcdl.shard((x[250:], y[250:]), global_batch=32, seed=9)
options: dict[str, Any] = {"validation_data": validation, "epochs": 8, "verbose": 0}
if kind == "repeat":
    train, options["steps_per_epoch"] = train.repeat(), 5
early = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
falling = keras.callbacks.ReduceLROnPlateau(patience=1)
timeout = 20.0 if harm == "silence" else 300.0
kept = hpcdl.callbacks(folder / "kept", every_steps=6, every_epochs=1, stall_timeout=timeout)
model = built()
history = model.fit(train, callbacks=[*kept, early, falling, Harm()], **options).history
if world.is_leader:
    told = {
        "history": history,
        "wait": early.wait,
        "rate": float(model.optimizer.learning_rate),
        "weights": [weight.tolist() for weight in model.get_weights()],
    }
    (folder / "result.json").write_text(json.dumps(told), encoding="utf-8")
