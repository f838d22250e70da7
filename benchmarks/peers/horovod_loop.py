"""A loop by hand over Horovod's TensorFlow operations, as its own synthetic benchmark has it, for Keras 3."""

from __future__ import annotations

from typing import Any

import horovod.tensorflow as hvd
import keras
import tensorflow as tf
from tensorflow_work import images, network, scores, trainable
from work import Clock, read_job


def main() -> None:
    """Trains."""
    hvd.init()
    job = read_job()
    clock = Clock(job)
    model, optimizer = network(job)
    entropy = keras.losses.SparseCategoricalCrossentropy()
    optimizer.build(model.trainable_variables)

    @tf.function  # type: ignore[untyped-decorator]
    def step(pixels: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = entropy(labels, model(pixels, training=True))
        tape = hvd.DistributedGradientTape(tape)
        gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    every: Any = iter(images(job, hvd.rank()))
    for number in range(job.all_steps):
        loss = step(*next(every))
        if number == 0:
            hvd.broadcast_variables([weight.value for weight in model.variables], root_rank=0)
            hvd.broadcast_variables([weight.value for weight in optimizer.variables], root_rank=0)
        clock.step(float(loss))
    if hvd.rank() == 0:
        clock.write(trainable(model), scores(model))
    hvd.shutdown()


if __name__ == "__main__":
    main()
