"""Mixing of pairs: mixup and cutmix. What is random comes in as numbers, as in `hpcdl.data.augment`.

A pair lies within a micro-batch: sample i of n with sample n - 1 - i. So it depends on the order of the epoch alone,
and not on the ranks. Each sample mixes the other one into itself by its own draws; in a micro-batch of odd length the
middle one stays itself.

Images are (batch, height, width, channels), uint8 or float32; labels (batch, classes), float32, each with the sum 1,
as do the labels that come back. The batch begins where a micro-batch begins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpcdl.data.batchwise import cover, whole, within

MIXUP_ALPHA = 0.2
"""Zhang et al. 2018, section 3.1, for ImageNet: 0.1 to 0.4."""
CUTMIX_ALPHA = 1.0
"""Yun et al. 2019, section 3.1: the share that is kept is uniform."""
CELLS = 4096
"""Steps of the table of quantiles."""


def mixup(
    images: tf.Tensor, labels: tf.Tensor, draws: tf.Tensor, micro_batch: int, alpha: float = MIXUP_ALPHA
) -> tuple[tf.Tensor, tf.Tensor]:
    """share x own + (1 - share) x partner, for images and labels, share ~ Beta(alpha, alpha) (Zhang et al. 2018).

    Args:
        images: (batch, height, width, channels); uint8 comes back rounded.
        labels: (batch, classes).
        draws: (batch, 1).
        micro_batch: images in each; the last may have fewer.
        alpha: above 0.
    """
    partner = partners(tf.shape(images)[0], micro_batch)
    own = beta(draws[:, 0], alpha)
    share = own[:, tf.newaxis, tf.newaxis, tf.newaxis]
    mixed = share * tf.cast(images, tf.float32) + (1.0 - share) * tf.cast(tf.gather(images, partner), tf.float32)
    mixed = tf.cast(tf.round(mixed), tf.uint8) if images.dtype == tf.uint8 else mixed
    return mixed, _mix_labels(labels, partner, own)


def cutmix(
    images: tf.Tensor, labels: tf.Tensor, draws: tf.Tensor, micro_batch: int, alpha: float = CUTMIX_ALPHA
) -> tuple[tf.Tensor, tf.Tensor]:
    """Puts a box of the partner's image into the own one, at the same place (Yun et al. 2019, section 3.1).

    The box has the shape of the image and a share 1 - kept of its area, kept ~ Beta(alpha, alpha), around a middle that
    is uniform over the image. It is clipped at the border, and labels are weighted by what is left of it.

    Args:
        images: (batch, height, width, channels).
        labels: (batch, classes).
        draws: (batch, 3): of the share kept, and row and column of the middle.
        micro_batch: images in each; the last may have fewer.
        alpha: above 0.
    """
    partner = partners(tf.shape(images)[0], micro_batch)
    side = tf.sqrt(1.0 - beta(draws[:, 0], alpha))
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    rows, columns = _span(draws[:, 1], side, height), _span(draws[:, 2], side, width)
    covered = tf.cast(_count(rows) * _count(columns), tf.float32) / tf.cast(height * width, tf.float32)
    mixed = cover(images, rows, columns, tf.gather(images, partner))
    return mixed, _mix_labels(labels, partner, 1.0 - covered)


def partners(batch: tf.Tensor, micro_batch: int) -> tf.Tensor:
    """Whom each sample is mixed with: (batch,), int32, each micro-batch in reverse."""
    places = tf.range(batch)
    start = places // micro_batch * micro_batch
    return start + tf.minimum(start + micro_batch, batch) - 1 - places


def beta(draws: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draws (batch,) as numbers that follow Beta(alpha, alpha): linear between CELLS + 1 quantiles."""
    table = tf.constant(beta_quantiles(alpha), tf.float32)
    place = draws * CELLS
    cell = tf.cast(place, tf.int32)
    low, high = tf.gather(table, cell), tf.gather(table, cell + 1)
    return low + (place - tf.cast(cell, tf.float32)) * (high - low)


def beta_quantiles(alpha: float) -> npt.NDArray[np.float64]:
    """Quantiles of Beta(alpha, alpha) at 0, 1 / CELLS, … 1.

    The distribution function up to 1/2 is an integral over x ** (alpha - 1) (1 - x) ** (alpha - 1), which has no bound
    at 0 for alpha < 1. With t = x ** alpha it is one over (1 - t ** (1 / alpha)) ** (alpha - 1), which has; the steps
    are even in t for alpha < 1, and in x above. Beyond 1/2 the distribution mirrors itself.
    """
    t = 0.5**alpha * np.linspace(0, 1, 2**16 + 1) ** max(alpha, 1.0)
    density = (1 - t ** (1 / alpha)) ** (alpha - 1)
    reached = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) * np.diff(t))])
    lower = np.interp(np.linspace(0, 0.5, CELLS // 2 + 1), reached / (2 * reached[-1]), t) ** (1 / alpha)
    return np.concatenate([lower, 1 - lower[-2::-1]])


def _mix_labels(labels: tf.Tensor, partner: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
    """Labels with the weight `own` (batch,) for the sample's, and the rest for its partner's."""
    share = own[:, tf.newaxis]
    return share * labels + (1.0 - share) * tf.gather(labels, partner)


def _span(draws: tf.Tensor, share: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """(batch, length), true in a span of that share of the length around a drawn middle; a half is whole pixels."""
    half = tf.cast(share * tf.cast(length, tf.float32), tf.int32) // 2
    return within(whole(draws, length), half, length)


def _count(true: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(true, tf.int32), axis=1)
