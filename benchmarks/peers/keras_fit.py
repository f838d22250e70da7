"""Plain Keras: model.fit in one process, with all cores."""

from __future__ import annotations

from typing import Any

import keras
from tensorflow_work import images, network, scores, trainable
from work import Clock, read_job, small


class Ends(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes each batch's end and loss, of which Keras tells the mean so far."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.total, self.seen = clock, 0.0, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.total, self.seen = 0.0, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        steps = batch + 1 - self.seen
        total = (batch + 1) * float((logs or {})["loss"])
        self.clock.step((total - self.total) / steps, steps)
        self.total, self.seen = total, batch + 1
        self.model.stop_training = self.clock.over


def main() -> None:
    """Trains."""
    job = read_job()
    clock = Clock(job)
    model, optimizer = network(job)
    model.compile(optimizer, "sparse_categorical_crossentropy", steps_per_execution=job.at_once)
    if job.input == "real" and job.task.shape[0] < 224:
        pixels, labels = small(job)
        count = min(len(pixels) // job.batch, job.all_steps) * job.batch
        epochs = -(-job.all_steps * job.batch // count)
        model.fit(pixels[:count], labels[:count], job.batch, epochs, callbacks=[Ends(clock)], verbose=0)
    else:
        model.fit(images(job, 0), steps_per_epoch=job.all_steps, callbacks=[Ends(clock)], verbose=0)
    clock.write(trainable(model), scores(model))


if __name__ == "__main__":
    main()
