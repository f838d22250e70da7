"""Network, optimizer and images for the peers on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from work import Array, Job, photographs, small, synthetic

from hpcdl.models.registry import build


def network(job: Job) -> tuple[Any, Any]:
    """The Keras model, whose outputs are probabilities, and its optimizer."""
    keras.mixed_precision.set_dtype_policy(job.precision)
    work = job.task
    if work.optimizer == "adam":
        optimizer = keras.optimizers.Adam(work.rate)
    else:
        optimizer = keras.optimizers.SGD(work.rate, momentum=work.momentum)
    return build(work.network, work.shape, work.classes), optimizer


def trainable(model: Any) -> int:
    """Parameters that are trained."""
    return sum(int(weight.shape.num_elements()) for weight in model.trainable_variables)


def scores(model: Any) -> Callable[[Array], Array]:
    """What the model says of each class, for pixels (n, height, width, channels)."""
    return lambda pixels: np.asarray(model(pixels, training=False))


def images(job: Job, rank: int) -> tf.data.Dataset:
    """Batches without end of (pixels, labels): of a rank's own part of the images where they are real."""
    if job.input == "synthetic":
        return tf.data.Dataset.from_tensors(synthetic(job, rank)).cache().repeat()
    if job.task.shape[0] == 224:
        files = tf.data.Dataset.from_tensor_slices(photographs(job)).shard(job.ranks, rank)
        return (
            files.shuffle(1000, seed=rank)
            .repeat()
            .map(_decode, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(job.batch, drop_remainder=True)
            .prefetch(tf.data.AUTOTUNE)
        )
    pixels, labels = small(job)
    part = tf.data.Dataset.from_tensor_slices((pixels[rank :: job.ranks], labels[rank :: job.ranks]))
    return part.shuffle(len(part), seed=rank).repeat().batch(job.batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _decode(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A random window of the photograph, of 224 x 224 pixels in [0, 1]."""
    data = tf.io.read_file(path)
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        tf.image.extract_jpeg_shape(data), tf.zeros([1, 0, 4]), area_range=(0.08, 1.0),
        use_image_if_no_bounding_boxes=True,
    )  # fmt: skip
    window = tf.stack([begin[0], begin[1], size[0], size[1]])
    pixels = tf.image.decode_and_crop_jpeg(data, window, channels=3)
    pixels = tf.image.random_flip_left_right(tf.image.resize(pixels, (224, 224)) / 255.0)
    return tf.ensure_shape(pixels, (224, 224, 3)), label
