"""Keras 3 on JAX, data-parallel by keras.distribution over processes of a CPU."""

from __future__ import annotations

import os
from itertools import repeat
from typing import Any

import jax
import keras
import numpy as np
from work import Clock, batches, read_job, small, synthetic

from hpcdl.models.registry import build


class Ends(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes each batch's end."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.clock.step(float((logs or {})["loss"]))


def main() -> None:
    """Trains."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    job = read_job()
    rank = int(os.environ["RANK"])
    if job.ranks > 1:
        keras.distribution.initialize(os.environ["COORDINATOR"], job.ranks, rank)
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    clock, work = Clock(job), job.task
    keras.mixed_precision.set_dtype_policy(job.precision)
    model = build(work.network, work.shape, work.classes)
    if work.optimizer == "adam":
        optimizer: Any = keras.optimizers.Adam(work.rate)
    else:
        optimizer = keras.optimizers.SGD(work.rate, momentum=work.momentum)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    if job.input == "synthetic":
        every: Any = (one for one in repeat(synthetic(job, rank)))
    else:
        pixels, labels = small(job)
        every = batches(pixels[rank :: job.ranks], labels[rank :: job.ranks], job.batch, rank)
    model.fit(every, steps_per_epoch=job.all_steps, callbacks=[Ends(clock)], verbose=0)
    if rank == 0:
        count = sum(int(weight.value.size) for weight in model.trainable_variables)
        # A process alone cannot ask a network that is spread over several.
        clock.write(count, None if job.ranks > 1 else lambda pixels: np.asarray(model(pixels, training=False)))


if __name__ == "__main__":
    main()
