"""How fast images come: hpcdl's batches against what a user would write, over the same files and cores.

    python benchmarks/input.py --data DIR [--repeats 5] [--seconds 6] [--out FILE.json]

DIR holds CIFAR-10 and an ImageNet folder tree (imagenet or imagenet-sample). Nothing is trained.
Every row is a process of its own: hpcdl's in the environment that `hpcdl run` gives to a rank, the
others as their users start them. Each repetition goes over all rows before the next begins; ratios
are taken within a repetition, with bootstrap 95 % intervals of their median. No row keeps decoded images.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import tensorflow as tf
from document import write

from hpcdl.analysis.stats import median, median_interval
from hpcdl.config.schema import DataConfig
from hpcdl.data.augment import DRAWS
from hpcdl.data.images import Images
from hpcdl.data.order import shares
from hpcdl.data.pipeline import Batches
from hpcdl.data.sources.registry import load, locate
from hpcdl.data.windows import crop_windows
from hpcdl.launch.topology import read_topology
from hpcdl.launch.tuning import tune

SIZE, BATCH, SMALL_BATCH = 224, 64, 128
Start = Callable[[], Iterable[Any]]
AUTO = tf.data.AUTOTUNE


def ours(config: DataConfig, path: Path, batch: int) -> Start:
    """hpcdl's batches of training, epoch after epoch."""
    data = load(config, path)
    batches = Batches(data, data.train, config, batch, read_topology().cores)
    parts = shares(len(data.train), batch, batch, 0, 1)[: len(data.train) // batch]
    return lambda: batches.epochs(parts, 0)


def tensorflows_window(shape: tf.Tensor) -> tf.Tensor:
    """8 to 100 % of the area; these are smaller in the mean than torchvision's."""
    ones = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        shape, ones, area_range=(0.08, 1.0), max_attempts=10, min_object_covered=0.1
    )
    return tf.concat([begin[:2], size[:2]], axis=0)


def torchvisions_window(shape: tf.Tensor) -> tf.Tensor:
    """Of the distribution that hpcdl's windows have."""
    return crop_windows(shape[:1], shape[1:2], tf.random.uniform([1, DRAWS["random-resized-crop"]]))[0]


def plain_files(folder: Path, window: Callable[[tf.Tensor], tf.Tensor]) -> Start:
    """A tuned tf.data pipeline: cropped while it is decoded, parallel, prefetched."""
    classes = tf.constant(sorted(entry.name for entry in folder.iterdir()))

    def image(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        stored = tf.io.read_file(path)
        place = window(tf.image.extract_jpeg_shape(stored))
        cut = tf.image.decode_and_crop_jpeg(stored, place, channels=3)
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
    for _ in range(8):
        next(batches)
    began, images = perf_counter(), 0
    while perf_counter() - began < seconds:
        next(batches)
        images += size
    return images / (perf_counter() - began)


def hpcdl_files(path: Path) -> Start:
    """Photographs, cropped and flipped."""
    return ours(DataConfig(source="imagenet", size=SIZE, augment=["random-resized-crop", "flip"]), path, BATCH)


def hpcdl_memory(path: Path) -> Start:
    """CIFAR-10, padded, cropped and flipped."""
    return ours(DataConfig(source="cifar10", augment=["pad-crop", "flip"]), path, SMALL_BATCH)


ROWS: dict[str, tuple[int, Callable[[Path], Start]]] = {
    "imagenet: hpcdl": (BATCH, hpcdl_files),
    "imagenet: tf.data": (BATCH, lambda path: plain_files(path / "train", tensorflows_window)),
    "imagenet: tf.data, the same windows": (BATCH, lambda path: plain_files(path / "train", torchvisions_window)),
    "imagenet: image_dataset_from_directory": (BATCH, lambda path: keras_files(path / "train")),
    "cifar10: hpcdl": (SMALL_BATCH, hpcdl_memory),
    "cifar10: tf.data": (SMALL_BATCH, plain_memory),
}


def measured(row: str, data: str, seconds: float) -> float:
    """images/s of a row, in a process of its own."""
    tuned = tune(read_topology(), 1).env if row.endswith("hpcdl") else {}
    command = [sys.executable, __file__, "--data", data, "--seconds", str(seconds), "--row", row]
    done = subprocess.run(command, env={**os.environ, **tuned}, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures, prints the rows, and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--row", choices=ROWS, help="measure this one, here, and print images/s")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.row:
        size, start = ROWS[options.row]
        path = locate(options.row.split(":")[0], [], [("--data", options.data)])
        print(rate(iter(start(path)()), size, options.seconds))
        return
    rates: dict[str, list[float]] = {name: [] for name in ROWS}
    for repeat in range(options.repeats):
        for name in ROWS:
            rates[name].append(measured(name, options.data, options.seconds))
            print(f"{repeat + 1}/{options.repeats}  {name:40} {rates[name][-1]:>10,.0f} images/s", flush=True)
    over: dict[str, Any] = {}
    for name in ROWS:
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
