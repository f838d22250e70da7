"""Models of every kind that Keras trains, with data; ranks and a single process solve them alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import hpcdl
from hpcdl.training.lars import LARS
from hpcdl.training.muon import Muon

SAMPLES, BATCH, EPOCHS = 50, 16, 3
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Problem:
    """What to train, and how near a distributed run must come to one process."""

    model: Callable[[], keras.Model]
    """Not compiled; the start comes from the global seed."""
    data: Callable[[], Any]
    """50 samples in the form that fit takes: in batches of 16 they leave 2 for the last, fewer than 4 ranks."""
    optimizer: Callable[[], keras.optimizers.Optimizer]
    compile: Callable[[], dict[str, Any]] = lambda: {"loss": "mse", "metrics": ["mae"]}
    """Made anew for every model: metrics have state."""
    policy: str = "float32"
    tolerance: float = 2e-6
    batch: int = BATCH
    fit: dict[str, Any] = field(default_factory=dict)
    distribute: dict[str, Any] = field(default_factory=dict)
    validate: bool = False
    inexact: tuple[str, ...] = ()
    """Logs that plain Keras averages over batches, though one is smaller."""
    prepare: Callable[[keras.Model], Any] = lambda model: model
    """What a distributed run does to the model before it is compiled."""
    every_size: bool = False
    """Ranks without samples matter to it; another is a kind of model, which 1 and 2 ranks judge."""

    @property
    def validation(self) -> Any:
        """26 samples, in batches of 8 that leave 2: some of 4 ranks get none of them."""
        return tf.nest.map_structure(lambda each: each[:26], self.data()) if self.validate else None

    def compiled(self, distribute: Callable[..., Any] | None = None, seed: int = 0) -> keras.Model:
        """The model, ready to train; `distribute` makes the optimizer a distributed one."""
        keras.utils.set_random_seed(seed)
        keras.mixed_precision.set_dtype_policy(self.policy)
        try:
            model = self.model()
            optimizer = self.optimizer()
            if distribute is not None:
                self.prepare(model)
                optimizer = distribute(optimizer, **self.distribute)
            model.compile(optimizer=optimizer, **self.compile())
        finally:
            keras.mixed_precision.set_dtype_policy("float32")
        return model


def sgd() -> keras.optimizers.Optimizer:
    """With clipping, which must see averaged gradients."""
    return keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=0.5)


def samples() -> tuple[Array, Array]:
    """x (50, 6) and y (50, 1)."""
    random = np.random.default_rng(0)
    x = random.standard_normal((SAMPLES, 6)).astype(np.float32)
    return x, (x @ random.standard_normal((6, 1))).astype(np.float32)


def weighted_samples() -> tuple[Array, Array, Array]:
    """With a weight for each."""
    return *samples(), np.random.default_rng(5).uniform(0.1, 2, SAMPLES).astype(np.float32)


def small_samples() -> tuple[Array, Array]:
    """Within the range of 16 bits, also after scaling the loss."""
    x, y = samples()
    return x, y / 50


def named_samples() -> tuple[dict[str, Array], dict[str, Array]]:
    """Two inputs and two outputs."""
    x, y = samples()
    return {"left": x[:, :2], "right": x[:, 2:]}, {"sum": y, "sign": (y > 0).astype(np.float32)}


def sentences() -> tuple[Array, Array]:
    """50 sentences of 4 words out of 30, and one of 3 classes each, one-hot."""
    random = np.random.default_rng(1)
    return random.integers(0, 30, (SAMPLES, 4)), np.eye(3, dtype=np.float32)[random.integers(0, 3, SAMPLES)]


def pictures() -> tuple[Array, Array]:
    """50 images of 32 x 32 pixels and one of 3 classes each."""
    random = np.random.default_rng(2)
    return random.standard_normal((SAMPLES, 32, 32, 3)).astype(np.float32), random.integers(0, 3, SAMPLES)


def sequential() -> keras.Model:
    return keras.Sequential([layers.Input((6,)), layers.Dense(5, activation="tanh"), layers.Dense(1)])


def functional() -> keras.Model:
    """Two inputs, two outputs, one of them with a loss of its own."""
    left, right = layers.Input((2,), name="left"), layers.Input((4,), name="right")
    joined = layers.Concatenate()([layers.Dense(4, activation="tanh")(left), layers.Dense(4)(right)])
    outputs = {"sum": layers.Dense(1, name="sum")(joined), "sign": layers.Dense(1, "sigmoid", name="sign")(joined)}
    return keras.Model({"left": left, "right": right}, outputs)


class Subclassed(keras.Model):  # type: ignore[misc]
    """A model in its own words, with regularisation."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(5, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.1))
        self.out = layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.out(self.hidden(x))


def subclassed() -> keras.Model:
    return Subclassed()


class OwnStep(Subclassed):
    """A train_step and a metric of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = keras.metrics.Mean(name="loss")

    @property
    def metrics(self) -> list[Any]:
        return [self.seen]

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y)) + sum(self.losses)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.seen.update_state(loss, sample_weight=tf.shape(x)[0])
        return {"loss": self.seen.result()}


def own_step() -> keras.Model:
    return OwnStep()


def frozen() -> keras.Model:
    """A first layer and a normalisation that do not learn."""
    model = keras.Sequential(
        [layers.Input((6,)), layers.Dense(5), layers.BatchNormalization(), layers.ReLU(), layers.Dense(1)]
    )
    model.layers[0].trainable = model.layers[1].trainable = False
    model.layers[1].set_weights([np.full(5, 0.9), np.full(5, 0.1), np.full(5, 0.3), np.full(5, 1.7)])
    return model


def reader() -> keras.Model:
    """An embedding, whose gradients are sparse."""
    return keras.Sequential(
        [layers.Input((4,), dtype="int32"), layers.Embedding(30, 5), layers.Flatten(), layers.Dense(3, "softmax")]
    )


def recurrent() -> keras.Model:
    return keras.Sequential(
        [
            layers.Input((4,), dtype="int32"),
            layers.Embedding(30, 4),
            layers.LSTM(4, return_sequences=True),
            layers.GRU(4),
            layers.Dense(3, "softmax"),
        ]
    )


def application() -> keras.Model:
    """A network of keras.applications, as users tune one: its normalisation stays as it is."""
    model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=3, dropout=0.0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    return model


def convolutional() -> keras.Model:
    return keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Conv2D(6, 4, strides=4, use_bias=False),
            layers.LayerNormalization(),
            layers.Activation("tanh"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def normalised() -> keras.Model:
    """Batch normalisation in two branches of equal width."""
    x = layers.Input((6,))
    branches = [layers.Activation("tanh")(layers.BatchNormalization(momentum=0.8)(layers.Dense(4)(x))) for _ in "ab"]
    return keras.Model(x, layers.Dense(1)(layers.Concatenate()(branches)))


def classes() -> dict[str, Any]:
    return {"loss": "categorical_crossentropy", "metrics": ["accuracy", keras.metrics.F1Score(name="f1")]}


PLAIN = {"data": samples, "optimizer": sgd}
EVERY: dict[str, Any] = {"every_size": True}
PROBLEMS: dict[str, Problem] = {
    "sequential": Problem(sequential, **PLAIN, validate=True, **EVERY),
    "functional": Problem(
        functional,
        named_samples,
        sgd,
        lambda: {"loss": {"sum": "mse", "sign": "binary_crossentropy"}, "metrics": {"sum": ["mae"], "sign": ["auc"]}},
        validate=True,
        inexact=("sum_loss", "sign_loss", "val_sum_loss", "val_sign_loss"),
        **EVERY,
    ),
    "subclassed": Problem(subclassed, **PLAIN),
    "own train_step": Problem(own_step, **PLAIN, compile=lambda: {}, **EVERY),
    "frozen": Problem(frozen, **PLAIN, **EVERY),
    "embedding": Problem(reader, sentences, lambda: keras.optimizers.SGD(0.5), classes),
    "recurrent": Problem(recurrent, sentences, lambda: keras.optimizers.Adam(0.01, epsilon=0.1), classes),
    "application": Problem(
        application,
        pictures,
        lambda: keras.optimizers.SGD(0.01),
        lambda: {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
        fit={"epochs": 1},
    ),
    "synchronised": Problem(
        normalised, **PLAIN, validate=True, prepare=hpcdl.synchronize_normalization, tolerance=1e-5, **EVERY
    ),
    "sample weights": Problem(
        sequential, weighted_samples, sgd, lambda: {"loss": "mse", "weighted_metrics": ["mae"]}, **EVERY
    ),
    "class weights": Problem(
        reader, sentences, lambda: keras.optimizers.SGD(0.5), classes, fit={"class_weight": {0: 0.5, 1: 1.0, 2: 3.0}}
    ),
    "accumulation": Problem(
        sequential,
        samples,
        lambda: keras.optimizers.Adam(0.05, epsilon=0.1, clipnorm=0.3, gradient_accumulation_steps=3),
        **EVERY,
    ),
    "steps_per_execution": Problem(
        sequential, **PLAIN, compile=lambda: {"loss": "mse", "steps_per_execution": 3}, **EVERY
    ),
    "jit_compile": Problem(
        sequential, **PLAIN, compile=lambda: {"loss": "mse", "metrics": ["mae"], "jit_compile": True}
    ),
    "jit_compile, own train_step, in one execution": Problem(
        own_step, **PLAIN, compile=lambda: {"jit_compile": True, "steps_per_execution": 2}, **EVERY
    ),
    "eager": Problem(sequential, **PLAIN, compile=lambda: {"loss": "mse", "run_eagerly": True}, fit={"epochs": 1}),
    "mixed_float16": Problem(sequential, small_samples, sgd, policy="mixed_float16", tolerance=2e-3, **EVERY),
    "mixed_float16, accumulation": Problem(
        sequential,
        small_samples,
        lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=2),
        policy="mixed_float16",
        tolerance=2e-3,
    ),
    "mixed_bfloat16": Problem(sequential, **PLAIN, policy="mixed_bfloat16", tolerance=5e-2),
    "fp16": Problem(sequential, **PLAIN, distribute={"compression": "fp16"}, tolerance=2e-3, **EVERY),
    "bf16": Problem(sequential, **PLAIN, distribute={"compression": "bf16"}, tolerance=2e-2),
    "LARS": Problem(sequential, samples, lambda: LARS(0.1, momentum=0.9, weight_decay=1e-2, trust=0.1)),
    "Muon": Problem(
        convolutional,
        pictures,
        lambda: Muon(0.1, trust=0.5),
        lambda: {"loss": "sparse_categorical_crossentropy"},
        tolerance=2e-5,
    ),
    "even": Problem(sequential, lambda: tuple(each[:48] for each in samples()), sgd, validate=True, **EVERY),
    "momentum of averages": Problem(
        sequential, samples, lambda: keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9, weight_decay=0.1)
    ),
}


def judged(size: int) -> dict[str, Problem]:
    """Those that a world of so many ranks solves; all of them where sizes were asked for."""
    return {
        name: each
        for name, each in PROBLEMS.items()
        if size <= 2 or each.every_size or os.environ.get("HPCDL_TESTS_RANKS")
    }
