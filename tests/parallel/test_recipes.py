"""A recipe's result does not depend on the ranks: one process, plain loops over micro-batches, and formulas."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_net
import tensorflow as tf
from record import Array, assert_alike, assert_same, weights
from small_net import judged

from hpcdl.data.order import Share, draws, layer_seeds, permutation
from hpcdl.data.sources import cifar
from hpcdl.models.registry import build

WORK = "recipes_work.py"
Found = list[dict[str, Any]]


def needed(size: int, parameters: dict[str, Any]) -> bool:
    """Whether a world of so many ranks has what a test judges."""
    return judged(size, str(parameters.get("name")))


def standard(pixels: Any) -> Any:
    """Pixels as the pipeline rounds them: other last bits would decide other maxima in pooling."""
    std = np.array(cifar.CIFAR10.std, np.float32)
    return pixels.astype(np.float32) * (np.float32(1 / 255) / std) - np.array(cifar.CIFAR10.mean, np.float32) / std


def batches(data: Path, seed: int = 0) -> list[tuple[Any, Any]]:
    """The recipe's training batches of its first epoch, made with NumPy."""
    images = cifar.load(data)
    order = permutation(250, seed, 0)
    random = draws(np.arange(250), 3, seed, 0)
    offsets, flips = (random[:, :2] * 9).astype(int), random[:, 2] < 0.5
    padded = np.pad(images.train.pixels, ((0, 0), (4, 4), (4, 4), (0, 0)))
    cut = np.stack([image[y : y + 32, x : x + 32] for image, (y, x) in zip(padded, offsets, strict=True)])
    cut = np.where(flips[:, None, None, None], cut[:, :, ::-1], cut)
    scaled = standard(cut)
    return [(scaled[order[at : at + 64]], images.train.labels[order[at : at + 64]]) for at in range(0, 250, 64)]


@cache
def plain_recipe(data: Path) -> tuple[list[Any], float, float]:
    """Weights, test loss and accuracy of the book's network after train_on_batch of whole global batches."""
    keras.utils.set_random_seed(0)
    model = build("cifar10-cnn", (32, 32, 3), 10)
    optimizer = keras.optimizers.SGD(0.005, momentum=0.9, weight_decay=5e-4)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    for x, y in batches(data):
        model.train_on_batch(x, y)
    test = cifar.load(data).test
    loss, accuracy = model.evaluate(standard(test.pixels), test.labels, verbose=0)
    return model.get_weights(), loss, accuracy


def test_a_recipe_trains_as_plain_keras_does(ranks: Found, data: Path) -> None:
    """Four updates of the book's network, the last one ragged, and the test set."""
    expected, loss, accuracy = plain_recipe(data)
    for found in ranks:
        assert_same(weights(found, "cnn"), expected, atol=1e-6)
        assert found["cnn: summary test_loss"] == pytest.approx(loss, rel=1e-5)
        assert found["cnn: summary test_accuracy"] == pytest.approx(accuracy)
        assert (found["cnn: summary updates"], found["cnn: summary images"]) == (4, 250)


@cache
def plain_loop(data: Path, name: str, updates: int, rate: float) -> tuple[list[Array], list[Array]]:
    """Weights and optimizer's state after updates that are plain loops over micro-batches of 16.

    Keras's layers keep their own state.
    """
    keras.utils.set_random_seed(0)
    model = (small_net.build if name == "small" else build)(name, (32, 32, 3), 10)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=5e-4)
    loss = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
    drops = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]

    @tf.function(reduce_retracing=True)
    def gradients(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            images = tf.cast(tf.shape(x)[0], tf.float32)
            value = loss(y, model(x, training=True)) + images * sum(model.losses)
        return tape.gradient(value, [variable.value for variable in model.trainable_variables])

    for update, (x, y) in enumerate(batches(data)[:updates]):
        micros = -(-len(x) // 16)
        seeds = layer_seeds(len(drops), 0, 0, update, Share(0, len(x), 0, micros), micros)
        parts = []
        for micro, start in enumerate(seeds):
            for drop, seed in zip(drops, start, strict=True):
                drop.seed_generator.state.assign(seed)
            at = slice(micro * 16, micro * 16 + 16)
            parts.append(gradients(tf.constant(x[at]), tf.constant(y[at])))
        optimizer.apply([tf.add_n(same) / len(x) for same in zip(*parts, strict=True)], model.trainable_variables)
    return model.get_weights(), [variable.numpy() for variable in optimizer.variables]


def test_statistics_and_dropout_belong_to_the_micro_batch(ranks: Found, data: Path) -> None:
    """Moving statistics too: in the order of the micro-batches, whoever had them."""
    expected, _ = plain_loop(data, "small", 4, 0.05)
    for found in ranks:
        assert_same(weights(found, "small"), expected, atol=2e-6)


def test_plain_keras_loads_the_model_and_its_optimizers_state(ranks: Found, data: Path) -> None:
    model = keras.models.load_model(ranks[0]["out"] / "small.keras")
    _, state = plain_loop(data, "small", 4, 0.05)
    assert_same(model.get_weights(), weights(ranks[0], "small"), atol=0)
    assert_same([variable.numpy() for variable in model.optimizer.variables], state, atol=2e-6)
    images, labels = batches(data)[0]
    model.fit(images, labels, verbose=0)


def test_resnet_trains_as_a_plain_loop_does(ranks: Found, data: Path) -> None:
    """19 batch normalisations let rounding grow, so this bound is wider: see benchmarks/invariance.py."""
    expected, _ = plain_loop(data, "resnet20", 3, 0.005)
    for found in ranks:
        assert_same(weights(found, "resnet"), expected, atol=1e-4)


def test_a_rank_alone_waits_for_nobody(ranks: Found) -> None:
    """The clock of communication starts when the gradients are there, and not earlier: else it is near the step's."""
    assert 0 <= ranks[0]["resnet: communication"] < 1
    if len(ranks) == 1:
        assert ranks[0]["resnet: communication"] < 0.05


TOLERANCES = {
    "large batch": 2e-6,
    "corrected": 2e-6,
    "two epochs": 2e-5,
    "mixed pairs": 2e-6,
    "two phases": 5e-6,
    "uneven": 2e-6,
    "held out": 1e-5,
    "target": 2e-6,
    "several at once": 5e-6,
    "bf16": 2e-2,
    "fp16": 1e-3,
    "mixed_float16": 5e-3,
}
_first: dict[str, list[Array]] = {}


@pytest.mark.parametrize("name", TOLERANCES)
def test_every_setting_gives_what_one_rank_gives(ranks: Found, name: str) -> None:
    """The first world is a single rank's."""
    expected = _first.setdefault(name, weights(ranks[0], name))
    assert_same(weights(ranks[0], name), expected, atol=TOLERANCES[name])
    wires = {"fp16", "bf16"} if len(ranks) == 1 else set()  # one rank sends nothing
    same = wires | ({"small", "target"} if name == "target" else {"target"})  # which only stops early
    names = [] if name in wires else [each for each in {"small", *TOLERANCES} - {name} - same if _done(ranks, each)]
    ours, others = weights(ranks[0], name), [weights(ranks[0], other) for other in names]
    assert all(np.abs(ours[0] - other[0]).max() > 1e-6 for other in others), "the setting does nothing"


@pytest.mark.parametrize("name", ["ordered", "ordered cnn"])
def test_deterministic_runs_give_the_same_bits_for_every_number_of_ranks(ranks: Found, name: str) -> None:
    expected = _first.setdefault(name, weights(ranks[0], name))
    assert_same(weights(ranks[0], name), expected, atol=0)


def test_deterministic_runs_repeat_and_learn_the_same(ranks: Found) -> None:
    assert_same(weights(ranks[0], "ordered"), weights(ranks[0], "ordered again"), atol=0)


@pytest.mark.parametrize("name", ["in an epoch", "after an epoch", "in phases", "scaled"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(ranks: Found, name: str) -> None:
    """Weights and summary: with patience, momentum correction, a scaled loss, and in the second phase."""
    whole = "ordered" if name.endswith("an epoch") else f"not stopped, {name}"
    stopped = f"resumed {name}"
    last = len(ranks) - 1
    for found in ranks:
        assert_same(weights(found, stopped), weights(found, whole), atol=0)
        assert str(found[f"{stopped}: told"]).startswith(f"this test on rank {last}" if last else "this test, and")
        for field in ("loss", "accuracy", "updates", "images"):
            assert found[f"{stopped}: summary {field}"] == found[f"{whole}: summary {field}"]
    at = ranks[0][f"{stopped}: from"]
    assert at == {"in an epoch": 3, "after an epoch": 4}.get(name, 6)
    assert ranks[0][f"{stopped}: kept"].tolist() == [*range(2, at, 2), at]


def test_a_run_goes_on_with_another_number_of_ranks(ranks: Found) -> None:
    """It was begun and stopped by the first world, a single rank's."""
    for found in ranks:
        assert found["moved: from"] == 3
        assert_same(weights(found, "moved"), weights(found, "ordered"), atol=0)


def test_the_mirror_is_looked_into_at_the_end(ranks: Found, data: Path) -> None:
    """Both answers of plain Keras, averaged; once a run, however many epochs it has."""
    model = small_net.build("small", (32, 32, 3), 10)
    model.set_weights(weights(ranks[0], "two epochs"))
    test = cifar.load(data).test
    images = standard(test.pixels)
    both = (model.predict(images, verbose=0) + model.predict(images[:, :, ::-1], verbose=0)) / 2
    loss = -np.log(both[np.arange(60), test.labels]).mean()
    for found in ranks:
        assert found["two epochs: evaluations"] == 1
        assert found["two epochs: summary test_loss"] == pytest.approx(loss, rel=1e-5)
        assert found["two epochs: summary test_accuracy"] == (both.argmax(1) == test.labels).mean()
        assert found["target: evaluations"] == 1 and found["held out: evaluations"] > 1


def test_phases_add_up(ranks: Found) -> None:
    for found in ranks if _done(ranks, "two phases") else []:
        assert (found["two phases: summary updates"], found["two phases: summary images"]) == (8, 500)


def test_the_ranks_stop_together(ranks: Found) -> None:
    for found in ranks:
        assert found["target: summary updates"] == 4 and "reached the target" in str(found["target: summary stopped"])
        assert found["held out: summary images"] % 200 == 0 and found["held out: summary validation_loss"] > 0
        assert found["held out: summary updates"] == ranks[0]["held out: summary updates"]


def test_a_node_has_one_copy_of_a_set(ranks: Found, data: Path) -> None:
    """Its pixels are mapped by all ranks, and no page of them is a rank's own."""
    expected = cifar.load(data).train.pixels.sum(dtype=np.int64)
    for found in ranks:
        assert found["one copy: sum"] == expected
        assert found["one copy: mapped"] == (len(ranks) > 1) and found["one copy: private"] == 0


def test_another_recipe_or_data_set_on_one_rank_is_told_on_all(ranks: Found) -> None:
    last = len(ranks) - 1
    for found in ranks[: 0 if last == 0 else None]:
        assert f"  seed: 0 on rank 0,   seed: 1 on rank {last}" in str(found["unlike: recipe"])
        assert "40 training and 10 test images" in str(found["unlike: data"])
        assert f"35 training and 10 test images of 10 classes on rank {last}" in str(found["unlike: data"])


def test_all_ranks_end_with_the_same_bits(ranks: Found) -> None:
    for name in ("small", "cnn", "resnet", "ordered", *TOLERANCES):
        if _done(ranks, name):
            assert_alike(ranks, name)


def _done(ranks: Found, name: str) -> bool:
    return judged(len(ranks), name)
