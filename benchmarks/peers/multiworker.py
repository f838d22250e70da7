"""tf.distribute.MultiWorkerMirroredStrategy with a loop by hand, for its fit is broken under Keras 3.

TF_CONFIG says which worker this is.
"""

from __future__ import annotations

import json
import os
from typing import Any

import keras
import tensorflow as tf
from tensorflow_work import images, network, scores, trainable
from work import Clock, read_job


def main() -> None:
    """Trains."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    job = read_job()
    clock = Clock(job)
    rank = int(json.loads(os.environ["TF_CONFIG"])["task"]["index"])
    with strategy.scope():
        model, optimizer = network(job)
        optimizer.build(model.trainable_variables)
        entropy = keras.losses.SparseCategoricalCrossentropy(reduction="none")

    def one(pixels: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(entropy(labels, model(pixels, training=True))) / (job.batch * job.ranks)
        gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    @tf.function  # type: ignore[untyped-decorator]
    def step(every: Any) -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(one, args=next(every)), axis=None)

    every = iter(strategy.distribute_datasets_from_function(lambda context: images(job, rank)))
    for _ in range(job.all_steps):
        clock.step(float(step(every)))
    if rank == 0:
        clock.write(trainable(model), scores(model))


if __name__ == "__main__":
    main()
