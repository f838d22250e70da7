"""From a split to a rank's batches, with tf.data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpcdl.config.schema import DataConfig
from hpcdl.data import augment, decode, mixing
from hpcdl.data.feed import Feed
from hpcdl.data.images import Encoded, Images, ImageSet, Split
from hpcdl.data.inspect_images import damaged
from hpcdl.data.normalize import normalize
from hpcdl.data.order import Numbers, Share, alternating, draws, order
from hpcdl.data.rows import BLOCK, NONE, Chosen, blocks, chunks
from hpcdl.data.stream import Batch, Batched, Gathered, Place, Stream
from hpcdl.data.windows import CENTER, center_window, crop_resize, crop_windows
from hpcdl.errors import ConfigError, DataError

Function = TypeVar("Function", bound=Callable[..., Any])
EPOCHS = 2**31
"""More than anyone trains."""
CHUNKS = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, None]), tf.TensorSpec([None], tf.int64)]
BLOCKS = [*CHUNKS[:2], tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 3], tf.int32)]
NO_DRAWS = 1
"""Random numbers of a sample that needs none: TensorFlow 2.18 crashes where it unbatches elements without content."""
CROP, ALTERNATE = "random-resized-crop", "alternate-flip"
MIXING = {"mixup": mixing.mixup, "cutmix": mixing.cutmix}


class Batches:
    """A split, and a rank's batches of each epoch of it.

    Args:
        dataset: supplies classes and channel statistics.
        split: of the dataset.
        config: size, augmentation and normalisation.
        micro_batch: images a micro-batch, within which mixup and cutmix pair.
        workers: images that are decoded at the same time.

    Raises:
        ConfigError: the images have no one size, and the recipe names none; grey ones are to be normalised for
            colour; or an image is smaller than its padding.
    """

    def __init__(
        self,
        dataset: ImageSet,
        split: Split,
        config: DataConfig,
        micro_batch: int = 1,
        workers: int = 2,
    ) -> None:
        self.shape = image_shape(split, config)
        """(height, width, channels) of what the network sees."""
        self._dataset, self._split, self._config = dataset, split, config
        self._micro_batch, self._workers = micro_batch, workers
        self._members: Numbers | None = None
        self._augment = [name for name in augment.DRAWS if name in config.augment]
        most = min(self.shape[:2]) - (config.padding_mode == "reflect")
        if "pad-crop" in self._augment and config.padding > most:
            raise ConfigError(
                f"padding of {config.padding} pixels for images of {self.shape[0]} x {self.shape[1]}",
                f"at most {most}",
                "lower data.padding, or leave pad-crop out",
            )
        with tf.device("/CPU:0"):
            self._labels = as_tensor(split.labels)
            self._pixels = as_tensor(split.pixels) if isinstance(split, Images) else None

    def only(self, members: Numbers) -> Batches:
        """The batches of some samples of the split, (n,) int64; images and labels are shared, not copied."""
        chosen = copy(self)
        chosen._members = members
        return chosen

    def __len__(self) -> int:
        return len(self._split) if self._members is None else len(self._members)

    def epochs(self, parts: Sequence[Share], seed: int, first: int = 0, skip: int = 0) -> Batched:
        """Training batches, one a share, epoch after epoch without an end, the next epoch's read ahead.

        Order and augmentation are functions of (seed, epoch, sample).

        Args:
            parts: this rank's shares of every epoch.
            seed: of the recipe.
            first: epoch.
            skip: shares of that epoch that are left out.

        Returns:
            images (n, h, w, c) float32, and labels (n,) int32; with mixup or cutmix the labels are probabilities
            (n, classes), float32.

        Raises:
            DataError: a stored image cannot be read or decoded; it names the image.
        """
        ends = np.cumsum([0, *(augment.DRAWS[name] for name in self._augment)])[1:]
        width = int(ends[-1]) if self._augment else NO_DRAWS

        def chosen(places: Numbers, epoch: int) -> tuple[Numbers, npt.NDArray[np.float32]]:
            samples = self._samples(order(places, len(self), seed, epoch))
            if not self._augment:
                return samples, np.zeros((len(samples), NO_DRAWS), np.float32)
            random = draws(samples, width, seed, epoch)
            if ALTERNATE in self._augment:
                column = ends[self._augment.index(ALTERNATE)] - 1
                random[:, column] = alternating(draws(samples, width, seed, 0)[:, column], epoch)
            return samples, random

        # A rank with one core gains nothing from what goes on beside the network. A GPU does.
        if self._pixels is not None and self._workers == 1 and not tf.config.list_logical_devices("GPU"):
            epochs = range(first, EPOCHS if parts else first)
            return Gathered(chunks(parts, chosen, epochs, skip), partial(self._gathered, training=True))
        return self._iterate(parts, chosen, range(first, EPOCHS), skip, training=True)

    def plain(self, parts: Sequence[Share]) -> Stream:
        """Evaluation batches in the split's order, without augmentation, one a share.

        Raises:
            DataError: as `epochs`.
        """

        def chosen(places: Numbers, _: int) -> tuple[Numbers, npt.NDArray[np.float32]]:
            return self._samples(places), np.zeros((len(places), NO_DRAWS), np.float32)

        return self._iterate(parts, chosen, range(1), 0, training=False)

    def _samples(self, numbers: Numbers) -> Numbers:
        return numbers if self._members is None else self._members[numbers]

    def _iterate(self, parts: Sequence[Share], chosen: Chosen, epochs: range, skip: int, *, training: bool) -> Stream:
        """The batches; an image that cannot be decoded is named, which TensorFlow does not."""
        sizes = {part.stop - part.start for part in parts}
        most, epochs = max(sizes, default=0), epochs if parts else range(0)
        samples = chunks(parts, chosen, epochs, skip)
        if isinstance(self._split, Encoded) and most:
            feed = Feed(blocks(self._split, samples, most), BLOCKS, ahead=2 * -(-most // BLOCK))
            batches = self._of_files(feed.dataset(), most, filled=len(sizes) > 1, training=training)
        else:
            feed = Feed(samples, CHUNKS, ahead=1)
            batches = self._of_memory(feed.dataset().flat_map(_cut), training=training)
        options = tf.data.Options()
        options.autotune.enabled = False  # nothing is left to it, and an epoch's end waits for its thread, seconds long
        ahead = batches.prefetch(4 if self._pixels is not None else 2).with_options(options)

        def named(failed: Sequence[Place], error: Exception) -> Exception:
            if isinstance(self._split, Images):
                return error
            samples = [chosen(np.arange(part.start, part.stop), epoch)[0] for epoch, part in failed]
            return self._named(self._split, np.concatenate(samples), error)

        places = ((epoch, part) for epoch in epochs for part in parts)
        return Stream(ahead, islice(places, skip, None), named, feed)

    def _named(self, split: Encoded, samples: Numbers, error: Exception) -> Exception:
        found = damaged(split, samples)
        if not found:
            return error
        name, why = found[0]
        return DataError(
            f"{name}: {why}",
            "an image that can be decoded",
            "repair or remove it, or leave such images out: "
            f"`hpcdl data prepare {self._config.source} --bad skip --out DIR`",
        )

    def _of_memory(self, shares: tf.data.Dataset, *, training: bool) -> tf.data.Dataset:
        batch = _literally(partial(self._gathered, training=training))
        side = {"num_parallel_calls": 2, "deterministic": True} if self._workers > 1 else {}
        return shares.map(batch, **side)

    def _gathered(self, samples: tf.Tensor, random: tf.Tensor, *, training: bool) -> Batch:
        """A batch of images that lie in memory."""
        if self._pixels is None:  # no rank's share of stored images has any: this one only takes part
            return self._mix(tf.zeros([0, *self.shape]), samples, random, training=training)
        images = tf.gather(self._pixels, samples)
        height, width = images.shape[1:3]
        if training and CROP in self._augment:
            heights, widths = (tf.fill([tf.shape(samples)[0]], side) for side in (height, width))
            windows = crop_windows(heights, widths, self._own(random, CROP))
            images = crop_resize(images, windows, self.shape[:2])
        elif (height, width) != self.shape[:2]:
            images = tf.image.resize(images, self.shape[:2])
        return self._mix(self._change(images, random, training=training), samples, random, training=training)

    def _of_files(self, stored: tf.data.Dataset, most: int, *, filled: bool, training: bool) -> tf.data.Dataset:
        """Image by image, so that the workers go on from one batch into the next, and from one epoch into the next."""
        size, channels = self.shape[0], self.shape[2]
        split: Any = self._split

        @_literally
        def image(sample: tf.Tensor, random: tf.Tensor, stored: tf.Tensor, shape: tf.Tensor) -> tuple[tf.Tensor, ...]:
            def window(heights: tf.Tensor, widths: tf.Tensor) -> tf.Tensor:
                if training and CROP in self._augment:
                    return crop_windows(heights, widths, self._own(random[tf.newaxis], CROP))
                share = tf.where(tf.minimum(heights, widths) > size, CENTER, 1.0)
                return center_window(heights, widths, size, share)

            if split.paths is not None:
                stored = tf.io.read_file(stored)
            if split.shapes is None:
                decoded = decode.decode_file(stored, window, size)
            else:
                decoded = decode.decode_pixels(stored, shape, window, size, channels)
            # One by one, while the image is in the cache: over a batch, each pass goes to memory.
            changed = self._change(decoded[tf.newaxis], random[tf.newaxis], training=training)
            return changed[0], sample, random

        @_literally
        def image_if_any(sample: tf.Tensor, *others: tf.Tensor) -> tuple[tf.Tensor, ...]:
            none = tf.zeros(self.shape), sample, others[0]
            found: tuple[tf.Tensor, ...] = tf.cond(sample == NONE, lambda: none, lambda: image(sample, *others))
            return found

        @_literally
        def finish(images: tf.Tensor, samples: tf.Tensor, random: tf.Tensor) -> Batch:
            count = tf.math.count_nonzero(samples != NONE)
            return self._mix(images[:count], samples[:count], random[:count], training=training)

        # Twice the workers: one that has done its image finds the next waiting.
        images = stored.unbatch().map(
            image_if_any if filled else image, num_parallel_calls=2 * self._workers, deterministic=True
        )
        return images.batch(most).map(finish, num_parallel_calls=2, deterministic=True)

    def _change(self, images: tf.Tensor, random: tf.Tensor, *, training: bool) -> tf.Tensor:
        """Augments and normalises images in [0, 255] of the network's size, each for itself."""
        if training and self._augment:
            fill = [255 * mean for mean in self._dataset.mean]
            images = augment.apply(self._augment, images, random, fill, self._config.padding, self._config.padding_mode)
        scheme, dataset = self._config.normalize, self._dataset
        return normalize(tf.cast(images, tf.float32), scheme, dataset.mean, dataset.std)

    def _mix(self, images: tf.Tensor, samples: tf.Tensor, random: tf.Tensor, *, training: bool) -> Batch:
        """The batch: images, mixed in pairs where the recipe says so, and their labels."""
        labels = tf.gather(self._labels, samples)
        mixed = next((name for name in self._augment if name in MIXING), None) if training else None
        if mixed is None:
            return images, labels
        known = tf.one_hot(labels, len(self._dataset.classes))
        return MIXING[mixed](images, known, self._own(random, mixed), self._micro_batch)

    def _own(self, random: tf.Tensor, name: str) -> tf.Tensor:
        """The random numbers of one augmentation."""
        return augment.split(self._augment, random)[name]


def _literally(function: Function) -> Function:
    """Keeps TensorFlow from rewriting a function, which holds no Python control flow over tensors."""
    converted: Function = tf.autograph.experimental.do_not_convert(function)
    return converted


@_literally
def _cut(samples: tf.Tensor, random: tf.Tensor, ends: tf.Tensor) -> tf.data.Dataset:
    """Samples (n,) and their random numbers (n, columns), one element a share."""
    places = tf.data.Dataset.from_tensor_slices((ends[:-1], ends[1:]))
    return places.map(_literally(lambda start, stop: (samples[start:stop], random[start:stop])))


def image_shape(split: Split, config: DataConfig) -> tuple[int, int, int]:
    """(height, width, channels) of what the network sees.

    Raises:
        ConfigError: see `Batches`.
    """
    size, own = config.size, None
    if isinstance(split, Images):
        own = split.pixels.shape[1:3]
        channels = split.pixels.shape[3]
    else:
        channels = 3 if split.shapes is None or not len(split) else int(split.shapes[0, 2])
    if size is None and own is None:
        raise ConfigError(
            f"images of {config.source}, which have many sizes", "the size that the network sees", "data.size=224"
        )
    if channels != 3 and config.normalize == "caffe":
        raise ConfigError(
            f"data.normalize=caffe for images with {channels} channel", "colour images", "data.normalize=unit"
        )
    height, width = own if size is None and own else (size, size)
    return int(height or 0), int(width or 0), channels


def as_tensor(array: npt.NDArray[Any]) -> tf.Tensor:
    """An array as a tensor, without a copy where TensorFlow can use its memory, which must then not change."""
    aligned = array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % 64 == 0
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__()) if aligned and array.size else tf.constant(array)
