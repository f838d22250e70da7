"""The same work at 1, 2 and 4 ranks, with each engine, against one process and plain formulas."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import problem
import pytest
import tensorflow as tf

from hpcdl.data import cifar10
from hpcdl.data.cifar10_synth import synthesize
from hpcdl.data.order import augmentation, permutation
from hpcdl.models.registry import build

WORKER = Path(__file__).with_name("worker.py")
HOROVOD = pytest.mark.needs("horovod")
WORLDS = [
    pytest.param((engine, size), id=f"{engine}-{size}", marks=HOROVOD if engine == "horovod" else ())
    for size in (1, 2, 4)
    for engine in ("single", "mpi", "horovod")
    if engine != "single" or size == 1
]
Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return synthesize(folder, train=250, test=60)


@pytest.fixture(scope="module", params=WORLDS)
def ranks(
    request: pytest.FixtureRequest,
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    run_command: Callable[..., Any],
) -> Found:
    """What each rank of a world found; the ranks are started once for all tests of that world."""
    engine, size = request.param
    out = tmp_path_factory.mktemp(f"{engine}{size}")
    chosen = [] if engine == "single" else ["--engine", engine]
    options = ["-n", str(size), "--oversubscribe", *chosen, "--", str(out), str(data), engine]
    done = run_command([sys.executable, "-m", "hpcdl", "run", str(WORKER), *options], 300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = [dict(np.load(out / f"{rank}.npz")) for rank in range(size)]
    return [{**each, "out": out} for each in found]


def weights(found: dict[str, Any], work: str) -> list[np.ndarray[Any, Any]]:
    count = sum(key.startswith(f"{work}: weight") for key in found)
    return [found[f"{work}: weight {place}"] for place in range(count)]


def assert_same_weights(ours: list[Any], theirs: list[Any], atol: float) -> None:
    assert len(ours) == len(theirs) > 0
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=f"weight {place}")


def test_each_rank_knows_its_place(ranks: Found) -> None:
    size = len(ranks)
    for rank, found in enumerate(ranks):
        assert found["world"].tolist() == [rank, size, rank, 0, 1, True, True]


def test_collectives_agree_with_their_formulas(ranks: Found) -> None:
    size = len(ranks)
    everyone = size * (size + 1) / 2
    for found in ranks:
        for name in ("float16", "float32", "float64", "int32", "int64", "uint8", "bfloat16"):
            np.testing.assert_array_equal(found[f"collectives: sum {name}"], [everyone, 0, 2 * everyone])
            np.testing.assert_array_equal(found[f"collectives: broadcast {name}"], [size, 0, 2 * size])
        np.testing.assert_array_equal(found["collectives: sum bool"], [1, 0, 1])
        assert found["collectives: scalar"] == size - 1
        fused = [found[f"collectives: fused {place}"] for place in range(6)]
        np.testing.assert_array_equal(fused[0], np.full((2, 3), everyone))
        np.testing.assert_array_equal(fused[1], [size, 2 * size])
        assert fused[2].shape == () and fused[2] == size
        np.testing.assert_array_equal(fused[3], np.full((1, 4), 2 * everyone))
        assert fused[4].shape == (0,)
        np.testing.assert_array_equal(fused[5], [size, size])
        np.testing.assert_array_equal(found["collectives: eager 0"], [size, size])
        assert found["collectives: gathered"].tolist() == list(range(size))
        np.testing.assert_allclose(found["collectives: mean of booleans"], [1, 0])
        np.testing.assert_allclose(found["collectives: mean of bytes"], [200])
        np.testing.assert_allclose(found["collectives: sum of bytes"], [200 * size])
        np.testing.assert_allclose(found["collectives: mean"], [1, (size - 1) / 2])
        np.testing.assert_allclose(found["collectives: mean of integers"], [(size - 1) / 2, 1])


@cache
def plain_fit(samples: int) -> tuple[list[Any], dict[str, list[float]]]:
    """Weights and history of plain Keras in this process."""
    x, y = (array[:samples] for array in problem.samples())
    plain = problem.network(seed=0)
    plain.compile(optimizer=problem.optimizer(), loss="mse", metrics=["mae"])
    history = plain.fit(
        x,
        y,
        batch_size=problem.BATCH,
        epochs=problem.EPOCHS,
        shuffle=False,
        validation_data=(x[:24], y[:24]),
        verbose=0,
    ).history
    return plain.get_weights(), history


@pytest.mark.parametrize(("work", "samples"), [("fit", problem.SAMPLES), ("fit even", 48)])
def test_fit_gives_what_plain_keras_gives_in_one_process(ranks: Found, work: str, samples: int) -> None:
    """50 samples in batches of 16 leave 2 for the last, which is fewer than 4 ranks."""
    expected, history = plain_fit(samples)
    for found in ranks:
        assert_same_weights(weights(found, work), expected, atol=2e-6)
        # The loss of training is weighted as its samples are; with even batches that is exact.
        exact = {"val_loss", "val_mae"} | ({"loss", "mae"} if samples == 48 else set())
        for name in exact:
            np.testing.assert_allclose(found[f"{work}: history {name}"], history[name], rtol=2e-5)


def test_ranks_that_do_not_reduce_would_be_noticed(ranks: Found) -> None:
    """The comparison above can fail: without the reduction the weights are others."""
    together, apart = (weights(ranks[-1], work) for work in ("fit even", "fit apart"))
    same = all(np.allclose(one, other, rtol=0, atol=2e-6) for one, other in zip(together, apart, strict=True))
    assert same == (len(ranks) == 1)


def test_a_saved_model_loads_in_plain_keras_and_trains_on(ranks: Found) -> None:
    model = keras.models.load_model(ranks[0]["out"] / "fitted.keras")
    assert_same_weights(weights(ranks[0], "fit"), model.get_weights(), atol=0)
    assert type(model.optimizer) is keras.optimizers.SGD
    assert int(model.optimizer.iterations.numpy()) == problem.EPOCHS * 4
    model.fit(*problem.samples(), verbose=0)


def test_ranks_stop_early_together(ranks: Found) -> None:
    losses = ranks[0]["early stop: losses"]
    assert len(losses) < 12
    for found in ranks[1:]:
        np.testing.assert_array_equal(found["early stop: losses"], losses)


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_every_sample_is_seen_once_an_epoch_with_the_weight_of_one(ranks: Found, kind: str) -> None:
    size = len(ranks)
    orders = []
    for epoch in range(2):
        key = f"seen: {kind} {epoch}"
        splits = [np.cumsum(found[f"{key} batches"])[:-1] for found in ranks]
        places = [np.split(found[f"{key} places"], at) for found, at in zip(ranks, splits, strict=True)]
        share = [np.split(found[f"{key} weights"], at) for found, at in zip(ranks, splits, strict=True)]
        order: list[int] = []
        for batch in range(4):
            count = 16 if batch < 3 else 2
            # mean over a rank's part, times its weight, averaged over ranks: every real sample has 1 / count
            influence = np.zeros(problem.SAMPLES)
            for rank in range(size):
                for place, weight in zip(places[rank][batch], share[rank][batch], strict=True):
                    influence[place] += weight / len(places[rank][batch]) / size
                    order += [int(place)] if weight else []
            np.testing.assert_allclose(influence[influence > 0], 1 / count, rtol=1e-6)
            assert (influence > 0).sum() == count
        assert sorted(order) == list(range(problem.SAMPLES))
        orders.append(order)
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])
    assert all(found["seen: refused"] == (size > 1) for found in ranks)


@cache
def plain_words() -> tuple[list[Any], Any, float]:
    """Weights, F1 by epoch and loss of plain Keras."""
    x, y = problem.words()
    plain = problem.reader(seed=0)
    metric = keras.metrics.F1Score(name="f1")
    plain.compile(optimizer=keras.optimizers.SGD(0.5), loss="categorical_crossentropy", metrics=[metric])
    history = plain.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    return plain.get_weights(), history["f1"], plain.evaluate(x, y, verbose=0)[0]


def test_sparse_gradients_vector_metrics_and_a_loop_of_ones_own(ranks: Found) -> None:
    expected, f1, loss = plain_words()
    for found in ranks:
        assert_same_weights(weights(found, "words"), expected, atol=1e-6)
        np.testing.assert_allclose(found["words: f1"], f1, rtol=1e-5)
        assert found["words: evaluated"] == pytest.approx(loss, rel=1e-5)
        assert_same_weights([found[f"words: own {place}"] for place in range(3)], expected, atol=1e-6)
        assert found["words: refused"] == (len(ranks) > 1)


def test_an_overflow_on_one_rank_skips_the_step_on_all(ranks: Found) -> None:
    for found in ranks:
        assert not found["overflow: skipped"].any()
        assert found["overflow: taken"].any()
        assert found["overflow: scale skipped"] == 2**14  # Keras starts at 2**15 and halves
        assert_same_weights(weights(found, "overflow"), weights(ranks[0], "overflow"), atol=0)


def standard(pixels: Any) -> Any:
    """Pixels as the pipeline rounds them: other last bits would decide other maxima in pooling."""
    std = np.array(cifar10.STD, np.float32)
    return pixels.astype(np.float32) * (np.float32(1 / 255) / std) - np.array(cifar10.MEAN, np.float32) / std


def batches(data: Path, seed: int = 0) -> list[tuple[Any, Any]]:
    """The recipe's training batches of its first epoch, made with NumPy."""
    images = cifar10.load(data)
    order = permutation(250, seed, 0)
    offsets, flips = augmentation(250, seed, 0)
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
    test = cifar10.load(data).test
    loss, accuracy = model.evaluate(standard(test.pixels), test.labels, verbose=0)
    return model.get_weights(), loss, accuracy


def test_a_recipe_trains_as_plain_keras_does(ranks: Found, data: Path) -> None:
    """Four updates of the book's network, the last one ragged, and the test set."""
    expected, loss, accuracy = plain_recipe(data)
    for found in ranks:
        assert_same_weights(weights(found, "cnn"), expected, atol=1e-6)
        assert found["cnn: summary test_loss"] == pytest.approx(loss, rel=1e-5)
        assert found["cnn: summary test_accuracy"] == pytest.approx(accuracy)
        assert (found["cnn: summary updates"], found["cnn: summary images"]) == (4, 250)


@cache
def plain_resnet(data: Path) -> dict[int, Any]:
    """Learned weights by place after three updates of ResNet-20, each a plain loop over four micro-batches."""
    keras.utils.set_random_seed(0)
    model = build("resnet20", (32, 32, 3), 10)
    optimizer = keras.optimizers.SGD(0.02, momentum=0.9, weight_decay=5e-4)
    loss = keras.losses.SparseCategoricalCrossentropy()
    variables = [variable.value for variable in model.trainable_variables]

    @tf.function
    def gradients(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        return tape.gradient(value, variables)

    for x, y in batches(data)[:3]:
        parts = [gradients(tf.constant(x[at : at + 16]), tf.constant(y[at : at + 16])) for at in range(0, 64, 16)]
        optimizer.apply([tf.add_n(same) / 4 for same in zip(*parts, strict=True)], model.trainable_variables)
    learned = {id(variable) for variable in model.trainable_variables}
    return {place: w.numpy() for place, w in enumerate(model.weights) if id(w) in learned}


def test_batch_normalisation_stays_within_the_micro_batch(ranks: Found, data: Path) -> None:
    """Whatever the ranks, BatchNormalization sees 16 images at a time."""
    expected = plain_resnet(data)
    for found in ranks:
        ours = weights(found, "resnet")
        assert_same_weights([ours[place] for place in expected], list(expected.values()), atol=1e-4)


def test_all_ranks_end_with_the_same_weights(ranks: Found) -> None:
    for work in ("fit", "fit even", "cnn", "resnet"):
        for found in ranks[1:]:
            assert_same_weights(weights(found, work), weights(ranks[0], work), atol=0)
