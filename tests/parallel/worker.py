"""Runs on every rank, started by the tests beside it: does the work and writes what came of it.

The checks stand in the tests; here is only what has to happen inside the ranks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import problem
import tensorflow as tf

import hpcdl
from hpcdl.config.load import load
from hpcdl.data import cifar10
from hpcdl.errors import ConfigError
from hpcdl.training import device, session
from hpcdl.training.timing import StepTimes
from hpcdl.training.trainer import Trainer

OUT, DATA = Path(sys.argv[1]), Path(sys.argv[2])
DTYPES = ("float16", "float32", "float64", "int32", "int64", "uint8", "bool", "bfloat16")


def started_before_pinning() -> list[bool]:
    """Whether TensorFlow's runtime ran already when the GPU was chosen; it must not."""
    from tensorflow.python.eager import context

    seen: list[bool] = []

    def pin(world: hpcdl.World) -> None:
        seen.append(context.context()._context_handle is not None)
        plain(world)

    plain, session.pin_gpu = device.pin_gpu, pin
    return seen


def collectives(world: hpcdl.World) -> dict[str, Any]:
    """Every collective, with values that tell the ranks apart."""
    engine = session.current().engine
    found: dict[str, Any] = {}
    for name in DTYPES:
        dtype = tf.as_dtype(name).as_numpy_dtype
        values = np.array([1, 0, 2], dtype) * np.array(world.rank + 1, dtype)
        found[f"sum {name}"] = engine.sum_array(np.asarray(values, dtype)).astype(np.float64)
        found[f"broadcast {name}"] = engine.broadcast_array(np.asarray(values, dtype), world.size - 1).astype(
            np.float64
        )
    found["scalar"] = engine.broadcast_array(np.array(world.rank), world.size - 1)

    @tf.function
    def fused(scale: tf.Tensor) -> list[tf.Tensor]:
        mixed = [
            tf.ones([2, 3]) * scale,
            tf.constant([1, 2], tf.int64),
            tf.ones([], tf.float64),
            tf.ones([1, 4]) * 2 * scale,
        ]
        return engine.sum_tensors([*mixed, tf.zeros([0]), tf.ones([2], tf.bfloat16)])

    for place, total in enumerate(fused(tf.constant(world.rank + 1.0))):
        found[f"fused {place}"] = tf.cast(total, tf.float64).numpy()
    for place, total in enumerate(engine.sum_tensors([tf.ones([2]), tf.ones([1], tf.int32)])):
        found[f"eager {place}"] = total.numpy()
    found["gathered"] = np.array([item["rank"] for item in hpcdl.allgather_object({"rank": world.rank, "text": "ü"})])
    found["mean of booleans"] = hpcdl.allreduce([True, False])
    found["mean of bytes"] = hpcdl.allreduce(np.array([200], np.uint8))
    found["sum of bytes"] = hpcdl.allreduce(np.array([200], np.uint8), op="sum")
    found["mean"] = hpcdl.allreduce([1.0, world.rank])
    found["mean of integers"] = hpcdl.allreduce(np.array([world.rank, 1]))
    hpcdl.barrier()
    return found


def fit(world: hpcdl.World, samples_used: int) -> dict[str, Any]:
    """compile and fit as the README shows, from a start that differs by rank."""
    x, y = (array[:samples_used] for array in problem.samples())
    model = problem.network(seed=world.rank)
    model.compile(optimizer=hpcdl.distribute(problem.optimizer()), loss="mse", metrics=["mae"])
    data = hpcdl.shard((x, y), problem.BATCH, shuffle=False)
    test = hpcdl.shard((x[:24], y[:24]), 8, shuffle=False)
    history = model.fit(
        data, epochs=problem.EPOCHS, validation_data=test, callbacks=hpcdl.callbacks(), verbose=0
    ).history
    found = {f"history {name}": np.array(values) for name, values in history.items()}
    found |= {f"weight {place}": weight for place, weight in enumerate(model.get_weights())}
    if world.is_leader and samples_used == problem.SAMPLES:
        model.save(OUT / "fitted.keras")
    return found


def fit_apart(world: hpcdl.World) -> dict[str, Any]:
    """The fault that Horovod's wrapper has under Keras 3: a reduction that reduces nothing."""
    engine = session.current().engine
    engine.sum_tensors = lambda tensors: [tensor * world.size for tensor in tensors]  # type: ignore[method-assign]
    try:
        return fit(world, 48)
    finally:
        del engine.sum_tensors


def early_stop(world: hpcdl.World) -> dict[str, Any]:
    """Ranks see different losses; the decision to stop must be one."""
    x, y = problem.samples()
    model = problem.network(seed=0)
    model.compile(optimizer=hpcdl.distribute(keras.optimizers.SGD(0.5)), loss="mse")
    stop = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=0.05)
    data = hpcdl.shard((x, y), problem.BATCH, seed=1)
    history = model.fit(data, epochs=12, callbacks=[*hpcdl.callbacks(), stop], verbose=0).history
    return {"losses": np.array(history["loss"])}


def seen(world: hpcdl.World) -> dict[str, Any]:
    """The samples of two epochs, in order, by arrays and by a dataset."""
    places = np.arange(problem.SAMPLES)
    keras.utils.set_random_seed(world.rank)  # of no account for arrays
    as_arrays = hpcdl.shard((places, places), problem.BATCH, seed=3)
    refused = ""
    try:
        hpcdl.shard(tf.data.Dataset.from_tensor_slices((places, places)), problem.BATCH, seed=3)
    except ConfigError as error:
        refused = error.fix
    keras.utils.set_random_seed(7)
    as_dataset = hpcdl.shard(tf.data.Dataset.from_tensor_slices((places, places)), problem.BATCH, seed=3)
    found: dict[str, Any] = {"refused": np.array("same seed" in refused)}
    for name, dataset in (("arrays", as_arrays), ("dataset", as_dataset)):
        for epoch in range(2):
            batches = [(x.numpy(), weight.numpy()) for x, _, weight in dataset]
            found[f"{name} {epoch} places"] = np.concatenate([x for x, _ in batches])
            found[f"{name} {epoch} weights"] = np.concatenate([weight for _, weight in batches])
            found[f"{name} {epoch} batches"] = np.array([len(x) for x, _ in batches])
    return found


def words(world: hpcdl.World) -> dict[str, Any]:
    """Sparse gradients, a metric that is a vector, and a loop of the user's own after a broadcast."""
    x, y = problem.words()
    model = problem.reader(seed=world.rank)
    metric = keras.metrics.F1Score(name="f1")
    model.compile(
        optimizer=hpcdl.distribute(keras.optimizers.SGD(0.5)), loss="categorical_crossentropy", metrics=[metric]
    )
    history = model.fit(hpcdl.shard((x, y), 8, shuffle=False), epochs=2, callbacks=hpcdl.callbacks(), verbose=0).history
    found = {f"weight {place}": weight for place, weight in enumerate(model.get_weights())}
    found["f1"] = np.array(history["f1"])
    score = model.evaluate(
        hpcdl.shard((x, y), 8, shuffle=False), callbacks=hpcdl.callbacks(), verbose=0, return_dict=True
    )
    found["evaluated"] = np.array(score["loss"])

    own = problem.reader(seed=world.rank)
    own.compile(optimizer=hpcdl.distribute(keras.optimizers.SGD(0.5)), loss="categorical_crossentropy")
    refused = False
    try:
        if world.size > 1:
            own.train_on_batch(x[:1], y[:1])
    except ConfigError:
        refused = True
    hpcdl.broadcast(own)
    for _ in range(2):
        for mine, labels in hpcdl.shard((x, y), 8, shuffle=False):
            own.train_on_batch(mine.numpy(), labels.numpy())
    found["refused"] = np.array(refused)
    return found | {f"own {place}": weight for place, weight in enumerate(own.get_weights())}


def overflow(world: hpcdl.World) -> dict[str, Any]:
    """mixed_float16: an infinite gradient on the last rank alone must skip the step everywhere."""
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = problem.network(seed=0)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    model.compile(optimizer=hpcdl.distribute(keras.optimizers.SGD(0.05)), loss="mse")
    before = [weight.copy() for weight in model.get_weights()]
    x, y = (array[:8] for array in problem.samples())
    bad = y.copy()
    bad[-1] = np.inf
    found: dict[str, Any] = {}
    # Fewer samples a rank have larger means, so the scale may have to halve again before a step is taken.
    for name, labels, epochs in (("skipped", bad, 1), ("taken", y, 8)):
        model.fit(hpcdl.shard((x, labels), 8, shuffle=False), epochs=epochs, callbacks=hpcdl.callbacks(), verbose=0)
        found[name] = np.array([not np.array_equal(w, b) for w, b in zip(model.get_weights(), before, strict=True)])
        found[f"scale {name}"] = np.array(float(model.optimizer.dynamic_scale.numpy()))
    return found | {f"weight {place}": weight for place, weight in enumerate(model.get_weights())}


def train(world: hpcdl.World, *overrides: str) -> dict[str, Any]:
    """A recipe, through the Trainer."""
    base = ["train.global_batch=64", "train.micro_batch=16", "train.epochs=1", *overrides]
    config = load(
        "cifar10-resnet20", ["schedule.name=constant", "schedule.warmup_epochs=0", "schedule.scaling=none", *base]
    )
    folder = OUT / "trainer"
    folder.mkdir(exist_ok=True)
    times = StepTimes(folder / f"{world.rank}.csv")
    trainer = Trainer(config, cifar10.load(DATA), session.current(), times, lambda event: None)
    summary = trainer.train()
    times.close()
    found = {f"summary {name}": np.array(value) for name, value in summary.items()}
    return found | {f"weight {place}": weight for place, weight in enumerate(trainer.model.get_weights())}


def main() -> None:
    """Does everything and writes OUT/RANK.npz."""
    early = started_before_pinning()
    world = hpcdl.init()
    work = {
        "collectives": lambda: collectives(world),
        "fit": lambda: fit(world, problem.SAMPLES),
        "fit even": lambda: fit(world, 48),
        "fit apart": lambda: fit_apart(world),
        "early stop": lambda: early_stop(world),
        "seen": lambda: seen(world),
        "words": lambda: words(world),
        "overflow": lambda: overflow(world),
        "cnn": lambda: train(world, "model.name=cifar10-cnn", "optimizer.learning_rate=0.005"),
        "resnet": lambda: train(world, "train.steps=3", "optimizer.learning_rate=0.02", "train.evaluate=false"),
    }
    found = {f"{name}: {key}": value for name, do in work.items() for key, value in do().items()}
    again = hpcdl.init()
    facts = [world.rank, world.size, world.local_rank, world.node, world.nodes, early == [False], again is world]
    np.savez(OUT / f"{world.rank}.npz", world=np.array(facts), engine=os.environ["HPCDL_ENGINE"], **found)


if __name__ == "__main__":
    main()
