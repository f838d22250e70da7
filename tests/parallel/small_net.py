"""A small network with all that depends on who computes what, moving statistics and dropout, and what trains it."""

from __future__ import annotations

import os

import keras
from keras import layers

LEFT_OUT = {"bf16", "fp16", "large batch", "corrected", "mixed pairs", "two phases"} | {
    f"{kind}{name}" for name in ("after an epoch", "in phases", "scaled") for kind in ("", "resumed ", "not stopped, ")
}
"""Settings, and stops, that know nothing of ranks beyond what two show."""


def judged(size: int, name: str) -> bool:
    """Whether a world of so many ranks does a work; all of them where sizes were asked for."""
    return size <= 2 or name not in LEFT_OUT or bool(os.environ.get("HPCDL_TESTS_RANKS"))


def build(name: str, shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Takes what the registry's `build` takes."""
    return keras.Sequential(
        [
            layers.Input(shape),
            layers.Conv2D(4, 3, strides=2, use_bias=False),
            layers.BatchNormalization(momentum=0.7),
            layers.Activation("tanh"),
            layers.Dropout(0.3),
            layers.AveragePooling2D(3),
            layers.Flatten(),
            layers.Dense(12, activation="tanh", kernel_regularizer=keras.regularizers.L2(1e-3)),
            layers.Dropout(0.3),
            layers.Dense(classes, activation="softmax", dtype="float32"),
        ]
    )
