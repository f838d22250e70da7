"""What fused batch normalisation is worth: training steps of networks as Keras computes them, and fused.

    python benchmarks/normalization.py [--repeats 5] [--seconds 8] [--out FILE.json]

One process, all cores, one batch that stays. Each repetition goes over both forms of each network;
ratios are taken within a repetition, with bootstrap 95 % intervals of their median.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import tensorflow as tf
from document import write

from hpcdl.analysis.stats import median, median_interval
from hpcdl.models.registry import build
from hpcdl.training.fused_normalization import fuse_normalization

NETWORKS = {"resnet20": (128, 32, 10), "ResNet50": (16, 224, 1000)}
"""Images a step, their side, classes."""
POLICIES = ("float32", "mixed_bfloat16")


def steps(name: str, policy: str, *, fused: bool) -> Callable[[], Any]:
    """A training step of a network on images that stay."""
    batch, side, classes = NETWORKS[name]
    keras.mixed_precision.set_dtype_policy(policy)
    model = build(name, (side, side, 3), classes)
    if fused:
        fuse_normalization(model)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    images, labels = tf.random.normal((batch, side, side, 3)), tf.random.uniform((batch,), 0, classes, tf.int32)

    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = keras.losses.SparseCategoricalCrossentropy()(labels, model(images, training=True))
        weights = [variable.value for variable in model.trainable_variables]
        optimizer.apply(tape.gradient(loss, weights), model.trainable_variables)
        return loss

    compiled: Callable[[], Any] = tf.function(step, autograph=False)
    return compiled


def rate(step: Callable[[], Any], batch: int, seconds: float) -> float:
    """images/s."""
    began, made = perf_counter(), 0
    while perf_counter() - began < seconds:
        step().numpy()
        made += 1
    return made * batch / (perf_counter() - began)


def main() -> None:
    """Measures, prints the rows, and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for name, policy in ((name, policy) for name in NETWORKS for policy in POLICIES):
        both = {fused: steps(name, policy, fused=fused) for fused in (False, True)}
        for step in both.values():  # traces
            step().numpy()
        turns = [
            {fused: rate(step, NETWORKS[name][0], options.seconds) for fused, step in both.items()}
            for _ in range(options.repeats)
        ]
        plain, fused = ([turn[kind] for turn in turns] for kind in (False, True))
        ratios = [ours / theirs for ours, theirs in zip(fused, plain, strict=True)]
        ratio = median_interval(ratios)
        rows.append({"model": name, "precision": policy, "keras": plain, "fused": fused, "ratio": ratio.model_dump()})
        print(
            f"{name:10} {policy:15} Keras {median(plain):8,.1f}  fused {median(fused):8,.1f} images/s  "
            f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]",
            flush=True,
        )
    if options.out:
        write(options.out, {"images_per_s": rows}, "tensorflow", "keras")


if __name__ == "__main__":
    main()
