"""What a run's model answers for the images of a split, and how good that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpcdl.analysis.classification import (
    Matrix,
    class_scores,
    confusion_matrix,
    label_places,
    most_confused,
    pick_samples,
    top_classes,
    top_k_accuracy,
)
from hpcdl.config.schema import RunConfig
from hpcdl.data.images import ImageSet, Split
from hpcdl.data.order import Numbers, hold_out, shares
from hpcdl.data.pipeline import Batches
from hpcdl.data.sources.registry import load
from hpcdl.errors import ConfigError, DataError, DivergenceError
from hpcdl.launch.topology import read_topology
from hpcdl.training.finished import FinishedRun, Network
from hpcdl.training.trainer import TEST_BATCH
from hpcdl.training.views import probabilities, views_of

TOP = 5
TOP_FROM = 10
"""From so many classes on top-5 accuracy says something."""
CONFUSED = 20
"""Pairs that are listed."""
Progress = Callable[[int, int], None]
"""Gets how many images are done, and how many there are."""


@dataclass(frozen=True)
class Answers:
    """What a model answers for images, in their order.

    Attributes:
        labels: (images,), int32, from 0.
        losses: cross-entropy of each, in nats, (images,), float32.
        places: classes that the model holds for more probable than the label, (images,), int64; 0 is a hit.
        top: the most probable classes, best first, (images, as many as were asked for), int64.
        probabilities: theirs, float32.
    """

    labels: npt.NDArray[np.int32]
    losses: npt.NDArray[np.float32]
    places: Numbers
    top: Numbers
    probabilities: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """An image and what the model took it for."""

    place: int
    """In `Evaluation.images`."""
    label: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """How good a run's model is on a split."""

    run: FinishedRun
    split: str
    """Its name."""
    data: ImageSet
    images: Split
    """That the split is of."""
    loss: float
    """Mean cross-entropy, in nats."""
    accuracy: float
    top5: float | None
    """None for fewer than 10 classes."""
    matrix: Matrix
    """(classes, classes), a row a true class."""
    samples: list[Sample]
    """Right ones from all over the split, then the wrong ones of which the model is surest."""

    @property
    def count(self) -> int:
        """Images of the split."""
        return int(self.matrix.sum())

    @property
    def run_accuracy(self) -> float | None:
        """What the run's summary says of the same split; None where it says nothing."""
        told = self.run.summary.get(f"{self.split}_accuracy")
        return float(told) if isinstance(told, int | float) else None

    @property
    def difference(self) -> str | None:
        """In a sentence, where the accuracy is not the one of the run's summary; None where it is, or is not told."""
        told = self.run_accuracy
        if told is None or abs(told - self.accuracy) < 1e-9:
            return None
        trained = self.run.environment.get("data")
        if isinstance(trained, str) and trained != self.data.origin:
            why = f"the run's data were: {trained}"
        else:
            why = (
                f"{abs(round((told - self.accuracy) * self.count))} of {self.count} images; the model file, the "
                "images or the packages have changed, or the processor rounds another way"
            )
        return f"accuracy {self.accuracy:.4f} is not the {told:.4f} of the run's summary.json ({why})"

    def document(self) -> dict[str, Any]:
        """What evaluation.json holds."""
        names = self.data.classes
        return {
            "run": str(self.run.folder),
            "recipe": self.run.config.name,
            "split": self.split,
            "data": self.data.origin,
            "synthetic": self.data.synthetic,
            "images": self.count,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "top5_accuracy": self.top5,
            "run_accuracy": self.run_accuracy,
            "difference": self.difference,
            "note": "null is what is not defined: precision where no image was taken for the class, recall where the "
            "split has none of it, F1 where both hold; top-5 accuracy of fewer than 10 classes",
            "classes": [
                {
                    "class": name,
                    "images": score.count,
                    "predicted": score.predicted,
                    "correct": score.correct,
                    "precision": score.precision,
                    "recall": score.recall,
                    "f1": score.f1,
                }
                for name, score in zip(names, class_scores(self.matrix), strict=True)
            ],
            "most_confused": [
                {"class": names[one.label], "taken_for": names[one.predicted], "images": one.images, "share": one.share}
                for one in most_confused(self.matrix, CONFUSED)
            ],
            "confusion": self.matrix.tolist(),
        }


def evaluate(
    network: Network, data: Path, split: str, samples: int = 0, progress: Progress | None = None
) -> Evaluation:
    """Evaluates a run's model on a split of a data set.

    Args:
        network: the run's model.
        data: where the data set is.
        split: see `chosen_split`.
        samples: how many images are chosen to be shown.
        progress: is told of every batch.

    Raises:
        ConfigError: see `chosen_split`.
        DataError: the set is damaged, or does not fit the model.
        DivergenceError: the model answers NaN or an infinity.
    """
    run = network.run
    images = load(run.config.data, data)
    check_classes(network, images)
    chosen, members = chosen_split(images, run.config, split)
    answers = answer(network, images, chosen, members, progress=progress)
    predicted = answers.top[:, 0]
    right, wrong = pick_samples(answers.places == 0, answers.probabilities[:, 0], samples)
    return Evaluation(
        run=run,
        split=split,
        data=images,
        images=chosen,
        loss=float(answers.losses.mean(dtype=np.float64)),
        accuracy=top_k_accuracy(answers.places, 1),
        top5=top_k_accuracy(answers.places, TOP) if network.outputs >= TOP_FROM else None,
        matrix=confusion_matrix(answers.labels, predicted, network.outputs),
        samples=[
            Sample(
                place=int(members[place]),
                label=int(answers.labels[place]),
                predicted=int(predicted[place]),
                probability=float(answers.probabilities[place, 0]),
            )
            for place in (*right, *wrong)
        ],
    )


def chosen_split(images: ImageSet, config: RunConfig, name: str) -> tuple[Split, Numbers]:
    """A split, and the samples of it that are meant.

    Args:
        images: the data set.
        config: tells what is held out of the training images.
        name: test, train or validation; train is what the run trained with, validation what it held out.

    Raises:
        ConfigError: another name.
        DataError: there are no such images.
    """
    kept, held_out = hold_out(len(images.train), config.data.validation)
    splits = {
        "test": (images.test, np.arange(len(images.test))),
        "train": (images.train, kept),
        "validation": (images.train, held_out),
    }
    if name not in splits:
        raise ConfigError(f"--split {name}", "test, train or validation", "choose one of them")
    split, members = splits[name]
    if not len(members):
        why = ", for data.validation is 0" if name == "validation" and not config.data.validation else ""
        others = " or ".join(f"--split {other}" for other, (_, own) in splits.items() if len(own))
        raise DataError(f"no {name} images in {images.path}{why}", "at least one", f"choose {others}")
    return split, members


def check_classes(network: Network, images: ImageSet) -> None:
    """Refuses data of other classes than the model's.

    Raises:
        DataError: another number of classes, or other classes than those that the run was trained with.
    """
    fix = "name the data that the run was trained with: --data PATH"
    if len(images.classes) != network.outputs:
        raise DataError(
            f"{len(images.classes)} classes in {images.path} for a model with {network.outputs} outputs",
            "one output a class",
            fix,
        )
    trained = network.run.environment.get("classes", images.classes)
    for label, (here, there) in enumerate(zip_longest(images.classes, trained)):
        if here != there:
            raise DataError(
                f"class {label} of {images.path} is {here!r}, and {there!r} in the run's environment.json",
                "the classes that the run was trained with, in their order",
                fix,
            )


def answer(
    network: Network,
    images: ImageSet,
    split: Split,
    members: Numbers | None = None,
    top: int = TOP,
    progress: Progress | None = None,
) -> Answers:
    """Shows a model images, batch by batch as training evaluates; memory does not grow with images x classes.

    Args:
        network: the model.
        images: the data set.
        split: of it, or images alike.
        members: samples of the split that are meant; None: all.
        top: how many of the most probable classes are kept, if there are so many.
        progress: is told of every batch.

    Raises:
        DataError: images of another shape than the model takes, or one that cannot be decoded.
        DivergenceError: the model answers NaN or an infinity.
    """
    batches = Batches(images, split, network.run.config.data, workers=read_topology().cores)
    if members is not None:
        batches = batches.only(members)
    if batches.shape != network.shape:
        raise DataError(
            f"images of shape {batches.shape} in {images.path} for a model that takes {network.shape}",
            "images of the model's shape",
            "name the data that the run was trained with: --data PATH",
        )
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(reduction=None, dtype="float32")

    views = views_of(network.run.config.train, network.model)

    def forward(pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        answers = probabilities(network.model, pixels, views)
        return cross_entropy(labels, answers), tf.cast(answers, tf.float32)

    # In a graph Keras's loss takes the softmax's input, as in training.
    ask = tf.function(forward, autograph=False, reduce_retracing=True)
    parts, done = [], 0
    for pixels, known in batches.plain(shares(len(batches), TEST_BATCH, TEST_BATCH, 0, 1)):
        losses, answers = (each.numpy() for each in ask(pixels, known))
        if not np.isfinite(answers).all():
            raise DivergenceError(
                f"{network.run.model_path} answers {answers[~np.isfinite(answers)][0]}",
                "finite probabilities",
                "train again with a lower optimizer.learning_rate",
            )
        labels, best = known.numpy(), top_classes(answers, min(top, network.outputs))
        theirs = np.take_along_axis(answers, best, axis=1)
        parts.append((labels, losses, label_places(answers, labels), best, theirs))
        done += len(labels)
        if progress:
            progress(done, len(batches))
    return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))
