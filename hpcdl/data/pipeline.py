"""From images in memory to a rank's batches, with tf.data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from hpcdl.config.schema import DataConfig
from hpcdl.data import augment
from hpcdl.data.images import Images, ImageSet
from hpcdl.data.order import Share, augmentation, permutation


class Batches:
    """A split as tensors, made once, and the batches of each epoch.

    Args:
        dataset: supplies the channel statistics.
        split: dataset.train or dataset.test.
        config: augmentation and normalisation.
    """

    def __init__(self, dataset: ImageSet, split: Images, config: DataConfig) -> None:
        with tf.device("/CPU:0"):
            self._pixels, self._labels = tf.constant(split.pixels), tf.constant(split.labels)
        if config.normalize == "unit":
            self._scale, self._shift = np.full(1, 1 / 255, np.float32), np.zeros(1, np.float32)
        else:
            self._scale = np.float32(1 / 255) / np.asarray(dataset.std, np.float32)
            self._shift = np.asarray(dataset.mean, np.float32) / np.asarray(dataset.std, np.float32)
        self._augment = frozenset(config.augment)

    def epoch(self, parts: Sequence[Share], seed: int, epoch: int) -> tf.data.Dataset:
        """Training batches of one epoch: images (n, h, w, c) float32, labels (n,) int32, one batch a share.

        Order and augmentation are functions of (seed, epoch, sample).
        """
        samples = len(self._labels)
        offsets, flips = augmentation(samples, seed, epoch)
        order = tf.constant(permutation(samples, seed, epoch))
        offset, flipped = tf.constant(offsets), tf.constant(flips)

        def batch(start: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            places = order[start:stop]
            images = tf.gather(self._pixels, places)
            if "pad-crop" in self._augment:
                images = augment.pad_crop(images, tf.gather(offset, places))
            if "flip" in self._augment:
                images = augment.flip(images, tf.gather(flipped, places))
            return self._float(images), tf.gather(self._labels, places)

        return _dataset(parts).map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)

    def plain(self, parts: Sequence[Share]) -> tf.data.Dataset:
        """Evaluation batches in file order, without augmentation."""

        def batch(start: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self._float(self._pixels[start:stop]), self._labels[start:stop]

        return _dataset(parts).map(batch, num_parallel_calls=1, deterministic=True).prefetch(2)

    def _float(self, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(images, tf.float32) * self._scale - self._shift


def _dataset(parts: Sequence[Share]) -> tf.data.Dataset:
    starts = np.array([part.start for part in parts], np.int64)
    stops = np.array([part.stop for part in parts], np.int64)
    return tf.data.Dataset.from_tensor_slices((starts, stops))
