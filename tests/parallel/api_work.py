"""What a user's script does besides fit: shards, loops of its own, callbacks, evaluation; and what is refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import problems
import record
import tensorflow as tf
from problems import PROBLEMS

import hpcdl
from hpcdl.errors import HpcdlError
from hpcdl.training import session

world = hpcdl.init()
last = world.rank == world.size - 1
Stopper = Callable[[], Any]


def seen() -> record.Findings:
    """The samples of two epochs, in order, by arrays and by a dataset, with weights and without."""
    places = np.arange(problems.SAMPLES)
    keras.utils.set_random_seed(world.rank)  # of no account
    found: dict[str, Any] = {"arrays": hpcdl.shard((places, places), 16, seed=3, weights=True)}
    dataset = tf.data.Dataset.from_tensor_slices((places, places))
    found["dataset"] = hpcdl.shard(dataset, 16, seed=3, weights=True)
    kept: dict[str, Any] = {}
    for name, data in found.items():
        for epoch in range(2):
            batches = [(x.numpy(), weight.numpy()) for x, _, weight in data]
            kept[f"{name} {epoch} places"] = np.concatenate([x for x, _ in batches])
            kept[f"{name} {epoch} weights"] = np.concatenate([weight for _, weight in batches])
            kept[f"{name} {epoch} batches"] = [len(x) for x, _ in batches]
    for name, data in (("bare arrays", places), ("bare dataset", dataset.map(lambda x, _: x))):
        kept[name] = np.concatenate([x.numpy() for x in hpcdl.shard(data, 16, shuffle=False)])
    session.current().ragged = False
    return kept


def own_loop() -> record.Findings:
    """GradientTape over a shard with weights, whose last batch is smaller than 4 ranks."""
    model = PROBLEMS["sequential"].compiled(seed=world.rank)
    optimizer = hpcdl.distribute(problems.sgd())
    hpcdl.broadcast(model.trainable_variables)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    hpcdl.broadcast(model)

    @tf.function(reduce_retracing=True)
    def step(x: tf.Tensor, y: tf.Tensor, weight: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(weight * tf.reduce_mean(tf.square(model(x, training=True) - y), axis=-1))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(problems.EPOCHS):
        for batch in hpcdl.shard(problems.samples(), problems.BATCH, shuffle=False, weights=True):
            step(*batch)
    return record.weights_of(model)


def own_batches() -> record.Findings:
    """train_on_batch, after a broadcast."""
    x, y = (each[:48] for each in problems.samples())
    model = PROBLEMS["even"].compiled(hpcdl.distribute, seed=world.rank)
    before = complaint(lambda: model.train_on_batch(x[:1], y[:1])) if world.size > 1 else ""
    hpcdl.broadcast(model)
    for _ in range(problems.EPOCHS):
        for mine, labels in hpcdl.shard((x, y), problems.BATCH, shuffle=False):
            model.train_on_batch(mine.numpy(), labels.numpy())
    return record.weights_of(model) | {"before": before}


def overflow(accumulation: int | None) -> record.Findings:
    """mixed_float16: an infinite gradient on the last rank alone must skip the step everywhere."""
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    keras.utils.set_random_seed(0)
    model = problems.sequential()
    keras.mixed_precision.set_dtype_policy("float32")
    sgd = keras.optimizers.SGD(0.05, gradient_accumulation_steps=accumulation)
    model.compile(optimizer=hpcdl.distribute(sgd), loss="mse")
    before = [weight.copy() for weight in model.get_weights()]
    x, y = (array[:8] for array in problems.samples())
    bad = y.copy()
    bad[-1] = np.inf
    found: dict[str, Any] = {}
    # Fewer samples a rank have larger means, so the scale may have to halve again before a step is taken.
    for name, labels, epochs in (("skipped", bad, 1), ("taken", y, 8)):
        data = hpcdl.shard((x, labels), 8, shuffle=False)
        model.fit(data, epochs=epochs, callbacks=hpcdl.callbacks(check_every=1), verbose=0)
        found[name] = [not np.array_equal(weight, old) for weight, old in zip(model.get_weights(), before, strict=True)]
        found[f"scale {name}"] = float(model.optimizer.dynamic_scale.numpy())
    return found | record.weights_of(model)


class Epochs(keras.callbacks.Callback):  # type: ignore[misc]
    """A user's callback, which decides by what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.losses.append((logs or {})["loss"])
        if len(self.losses) == 9:
            self.model.stop_training = True


def deciding() -> record.Findings:
    """Early stopping, falling rates and a user's callback on data whose loss differs by rank."""
    found: dict[str, Any] = {}
    for name, callback in (
        ("plateau", keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.05, factor=0.3)),
        ("stop", keras.callbacks.EarlyStopping("loss", patience=0, min_delta=0.05, restore_best_weights=True)),
        ("own", Epochs()),
    ):
        keras.utils.set_random_seed(0)
        model = problems.sequential()
        model.compile(optimizer=hpcdl.distribute(keras.optimizers.SGD(0.5)), loss="mse")
        history = model.fit(
            hpcdl.shard(problems.samples(), problems.BATCH, seed=1),
            epochs=12,
            callbacks=[*hpcdl.callbacks(), callback],
            verbose=0,
        ).history
        found |= {f"{name} loss": history["loss"], f"{name} rate": float(model.optimizer.learning_rate.numpy())}
    session.current().ragged = False
    return found


def writing() -> record.Findings:
    """Every callback that writes files, on every rank, in one folder."""
    folder = record.out() / "written"
    x, y = problems.samples()
    model = PROBLEMS["sequential"].compiled(hpcdl.distribute)
    writers = [
        keras.callbacks.ModelCheckpoint(folder / "best.keras", monitor="val_loss", save_best_only=True),
        keras.callbacks.CSVLogger(folder / "log.csv"),
        keras.callbacks.BackupAndRestore(folder / "backup"),
    ]
    if importlib.util.find_spec("tensorboard"):
        writers.append(keras.callbacks.TensorBoard(folder / "board"))
    if world.is_leader:
        folder.mkdir()
    hpcdl.barrier()
    data = hpcdl.shard((x, y), problems.BATCH, shuffle=False)
    history = model.fit(
        data, epochs=3, validation_data=data, callbacks=[*hpcdl.callbacks(), *writers], verbose=0
    ).history
    return record.weights_of(model) | {"loss": history["loss"]}


def answering() -> record.Findings:
    """evaluate and predict by all ranks."""
    found: dict[str, Any] = {}
    model = PROBLEMS["functional"].compiled(hpcdl.distribute)
    x, y = PROBLEMS["functional"].data()
    found |= {f"evaluate {name}": value for name, value in hpcdl.evaluate(model, (x, y), 16).items()}
    for name, inputs in (("arrays", x), ("dataset", tf.data.Dataset.from_tensor_slices(x))):
        found |= {f"predict {name} {key}": rows for key, rows in hpcdl.predict(model, inputs, 16).items()}
    few = {key: rows[:2] for key, rows in x.items()}
    found |= {f"predict few {key}": rows for key, rows in hpcdl.predict(model, few, 16).items()}
    single = PROBLEMS["sequential"].compiled(hpcdl.distribute)
    return found | {"predict one": hpcdl.predict(single, problems.samples()[0], 16)}


def complaint(do: Callable[[], Any]) -> str:
    """What a user would read."""
    try:
        do()
    except HpcdlError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def fit(model: keras.Model, data: Any = None, *callbacks: Any, **options: Any) -> None:
    parts = hpcdl.shard(problems.samples() if data is None else data, 16, shuffle=False)
    model.fit(parts, callbacks=[*hpcdl.callbacks(**options), *callbacks], verbose=0)


class Disturb(keras.callbacks.Callback):  # type: ignore[misc]
    """Changes a weight of the last rank alone, by more than the rounding of the next update can swallow."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if last and batch == 0:
            bias = self.model.trainable_variables[1]
            bias.assign(bias.numpy() + np.float32(2**-10))


def refusals() -> record.Findings:
    """Mistakes of which every rank must hear at once; those of one rank need more than one."""
    x, y = problems.samples()
    plain, sgd = PROBLEMS["sequential"], keras.optimizers.SGD

    def wider() -> None:
        model = keras.Sequential(
            [keras.layers.Input((6,)), keras.layers.Dense(6 if last else 5), keras.layers.Dense(1)]
        )
        model.compile(optimizer=hpcdl.distribute(sgd(0.1)), loss="mse")
        fit(model)

    def faster() -> None:
        model = problems.sequential()
        model.compile(optimizer=hpcdl.distribute(sgd(0.1 * (1 + last))), loss="mse")
        fit(model)

    def one_forgot() -> None:
        fit(plain.compiled(None if last else hpcdl.distribute))

    def own_loop_without_weights() -> None:
        hpcdl.shard((x, y), 16)
        model = plain.compiled(hpcdl.distribute)
        hpcdl.broadcast(model)
        model.optimizer.apply([tf.zeros(each.shape) for each in model.trainable_variables], model.trainable_variables)

    mistakes: dict[str, Callable[[], Any]] = {
        "not distributed": lambda: fit(plain.compiled()),
        "a model": lambda: hpcdl.distribute(plain.compiled()),
        "no optimizer": lambda: hpcdl.distribute("sgd"),
        "twice": lambda: hpcdl.distribute(hpcdl.distribute(sgd(0.1))),
        "compression": lambda: hpcdl.distribute(sgd(0.1), compression="int4"),
        "check_every": lambda: hpcdl.callbacks(check_every=0),
        "not built": lambda: hpcdl.broadcast(problems.subclassed()),
        "lengths": lambda: hpcdl.shard((x, y[:7]), 16),
        "empty": lambda: hpcdl.shard((x[:0], y[:0]), 16),
        "numbers": lambda: hpcdl.shard(([1, 2], [3, 4]), 16),
        "weights of triples": lambda: hpcdl.shard(problems.weighted_samples(), 16, weights=True),
    }
    if importlib.util.find_spec("horovod"):
        mistakes["horovod"] = lambda: hpcdl.distribute(horovod_wrapper(sgd(0.1)))
    if world.size > 1:
        mistakes |= {
            "another model": wider,
            "another optimizer": faster,
            "one not distributed": one_forgot,
            "another length": lambda: fit(plain.compiled(hpcdl.distribute), (x[: 50 - last], y[: 50 - last])),
            "another batch": lambda: hpcdl.shard((x, y), 16 + last),
            "too small": lambda: hpcdl.shard((x, y), world.size - 1),
            "own loop": own_loop_without_weights,
            "diverged": lambda: fit(plain.compiled(hpcdl.distribute), None, Disturb(), check_every=1),
            "diverged at the end": lambda: fit(plain.compiled(hpcdl.distribute), None, Disturb()),
        }
    said = {name: complaint(do) for name, do in mistakes.items()}
    session.current().ragged = False
    return said


def horovod_wrapper(optimizer: Any) -> Any:
    import horovod.tensorflow.keras as hvd

    return hvd.DistributedOptimizer(optimizer)


record.save(
    world.rank,
    {
        "seen": seen,
        "own loop": own_loop,
        "own batches": own_batches,
        "overflow": lambda: overflow(None),
        "overflow, accumulated": lambda: overflow(2),
        "deciding": deciding,
        "writing": writing,
        "answering": answering,
        "refusals": refusals,
    },
)
