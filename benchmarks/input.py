"""How fast images come: hpcdl's batches against what a user would write, over the same files and cores.

    python benchmarks/input.py --data DIR [--repeats 5] [--seconds 6] [--out FILE.json]

DIR holds CIFAR-10 and an ImageNet folder tree (imagenet or imagenet-sample). Nothing is trained.
Each repetition goes over all rows before the next begins; ratios are taken within a repetition,
with bootstrap 95 % intervals of their median. No row keeps decoded images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import tensorflow as tf
from document import write

from hpcdl.analysis.stats import median, median_interval
from hpcdl.config.schema import DataConfig
from hpcdl.data.images import Images
from hpcdl.data.order import shares
from hpcdl.data.pipeline import Batches
from hpcdl.data.sources.registry import load, locate
from hpcdl.launch.topology import read_topology

SIZE, BATCH, SMALL_BATCH = 224, 64, 128
Start = Callable[[], Iterable[Any]]
AUTO = tf.data.AUTOTUNE


def ours(config: DataConfig, path: Path, batch: int) -> Start:
    """hpcdl's batches of training, epoch after epoch."""
    data = load(config, path)
    batches = Batches(data, data.train, config, batch, read_topology().cores)
    parts = shares(len(data.train), batch, batch, 0, 1)[: len(data.train) // batch]
    return lambda: batches.epochs(parts, 0)


def plain_files(folder: Path) -> Start:
    """A tuned tf.data pipeline: cropped while it is decoded, parallel, prefetched."""
    classes = tf.constant(sorted(entry.name for entry in folder.iterdir()))
    ones = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])

    def image(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        stored = tf.io.read_file(path)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(stored), ones, area_range=(0.08, 1.0), max_attempts=10, min_object_covered=0.1
        )
        window = tf.concat([begin[:2], size[:2]], axis=0)
        cut = tf.image.decode_and_crop_jpeg(stored, window, channels=3)
        cut = tf.image.random_flip_left_right(tf.image.resize(cut, [SIZE, SIZE]))
        label = tf.argmax(classes == tf.strings.split(path, "/")[-2], output_type=tf.int32)
        return tf.ensure_shape(cut, [SIZE, SIZE, 3]) / 255.0, label

    files = tf.data.Dataset.list_files(str(folder / "*" / "*"), shuffle=True).repeat()
    return lambda: files.map(image, AUTO).batch(BATCH, drop_remainder=True).prefetch(AUTO)


def keras_files(folder: Path) -> Start:
    """keras.utils.image_dataset_from_directory, prefetched; it decodes whole images and crops nothing."""
    batches = keras.utils.image_dataset_from_directory(
        str(folder), image_size=(SIZE, SIZE), batch_size=BATCH, shuffle=True, verbose=False
    )
    return lambda: batches.repeat().prefetch(AUTO)


def plain_memory(path: Path) -> Start:
    """CIFAR-10 from memory, padded, cropped and flipped image by image."""
    split = load(DataConfig(source="cifar10"), path).train
    assert isinstance(split, Images)
    pixels, labels = split.pixels, split.labels

    def change(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        cut = tf.image.random_crop(tf.pad(image, [[4, 4], [4, 4], [0, 0]]), [32, 32, 3])
        return tf.cast(tf.image.random_flip_left_right(cut), tf.float32) / 255.0, label

    images = tf.data.Dataset.from_tensor_slices((pixels, labels)).shuffle(len(pixels)).repeat()
    return lambda: images.map(change, AUTO).batch(SMALL_BATCH, drop_remainder=True).prefetch(AUTO)


def rate(batches: Iterator[Any], size: int, seconds: float) -> float:
    """images/s of the next batches."""
    began, images = perf_counter(), 0
    while perf_counter() - began < seconds:
        next(batches)
        images += size
    return images / (perf_counter() - began)


def main() -> None:
    """Measures, prints the rows, and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cifar, imagenet = (locate(name, [], [("--data", options.data)]) for name in ("cifar10", "imagenet"))
    photographs = DataConfig(source="imagenet", size=SIZE, augment=["random-resized-crop", "flip"])
    small = DataConfig(source="cifar10", augment=["pad-crop", "flip"])
    rows: dict[str, tuple[int, Start]] = {
        "imagenet: hpcdl": (BATCH, ours(photographs, imagenet, BATCH)),
        "imagenet: tf.data": (BATCH, plain_files(imagenet / "train")),
        "imagenet: image_dataset_from_directory": (BATCH, keras_files(imagenet / "train")),
        "cifar10: hpcdl": (SMALL_BATCH, ours(small, cifar, SMALL_BATCH)),
        "cifar10: tf.data": (SMALL_BATCH, plain_memory(cifar)),
    }
    rates: dict[str, list[float]] = {name: [] for name in rows}
    for repeat in range(options.repeats):
        for name, (size, start) in rows.items():
            batches = iter(start())
            for _ in range(4):
                next(batches)
            rates[name].append(rate(batches, size, options.seconds))
            print(f"{repeat + 1}/{options.repeats}  {name:40} {rates[name][-1]:>10,.0f} images/s", flush=True)
            del batches  # its threads would go on filling buffers
    over: dict[str, Any] = {}
    for name in rows:
        base = f"{name.split(':')[0]}: hpcdl"
        if name != base:
            ratios = [mine / other for mine, other in zip(rates[base], rates[name], strict=True)]
            ratio = median_interval(ratios)
            over[name] = ratio.model_dump()
            print(f"hpcdl over {name:40} {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
    if options.out:
        medians = {name: {"median": median(values), "samples": values} for name, values in rates.items()}
        write(options.out, {"images_per_s": medians, "hpcdl_over": over}, "tensorflow", "keras", "numpy")


if __name__ == "__main__":
    main()
