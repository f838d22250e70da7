"""How well a classifier did: its confusion matrix, the score of each class, and top-k accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcdl.errors import DataError

Integers = npt.NDArray[np.integer[Any]]
Reals = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassScore:
    """What became of one class; a ratio is None where its denominator is 0."""

    count: int
    """Images of the class."""
    predicted: int
    """Images that the model takes for the class."""
    correct: int
    """Images of the class that the model takes for it."""

    @property
    def precision(self) -> float | None:
        """Of the images taken for the class, the share that is of it."""
        return self.correct / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """Of the images of the class, the share that was taken for it."""
        return self.correct / self.count if self.count else None

    @property
    def f1(self) -> float | None:
        """2 x correct / (count + predicted), the harmonic mean of precision and recall where both are defined
        (van Rijsbergen 1979, "Information Retrieval", chapter 7, with equal weights)."""
        both = self.count + self.predicted
        return 2 * self.correct / both if both else None


@dataclass(frozen=True)
class Confusion:
    """Images of one class that the model takes for another."""

    label: int
    predicted: int
    images: int
    share: float
    """Of the images of the class."""


def confusion_matrix(labels: Integers, predicted: Integers, classes: int) -> Matrix:
    """How many images of each class were taken for each class.

    Args:
        labels: (images,), from 0.
        predicted: (images,), from 0.
        classes: how many there are.

    Returns:
        (classes, classes): a row a true class, a column a predicted one. Matrices of parts add up.

    Raises:
        DataError: a number outside 0 … classes - 1, or not as many labels as predictions.
    """
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise DataError(f"labels {labels.shape} and predictions {predicted.shape}", "one of each an image", _CHECK)
    for name, numbers in (("label", labels), ("prediction", predicted)):
        outside = numbers[(numbers < 0) | (numbers >= classes)]
        if len(outside):
            raise DataError(f"a {name} of {outside[0]} among {classes} classes", f"0 to {classes - 1}", _CHECK)
    cells = labels.astype(np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def class_scores(matrix: Matrix) -> list[ClassScore]:
    """The score of each class of a confusion matrix (classes, classes)."""
    columns = matrix.sum(axis=1), matrix.sum(axis=0), np.diagonal(matrix)
    return [ClassScore(*(int(each) for each in row)) for row in zip(*columns, strict=True)]


def most_confused(matrix: Matrix, limit: int) -> list[Confusion]:
    """The pairs (true, predicted) of different classes with the most images, at most `limit`.

    Args:
        matrix: (classes, classes).
        limit: of pairs; among equal ones those of lower classes come first.
    """
    wrong = matrix - np.diag(np.diagonal(matrix))
    labels, predicted = np.nonzero(wrong)
    first = np.argsort(-wrong[labels, predicted], kind="stable")[:limit]
    rows = matrix.sum(axis=1)
    return [
        Confusion(int(label), int(other), int(wrong[label, other]), float(wrong[label, other] / rows[label]))
        for label, other in zip(labels[first], predicted[first], strict=True)
    ]


def top_classes(probabilities: Reals, count: int) -> npt.NDArray[np.int64]:
    """The most probable classes, (images, count), best first; among equal ones the lower class is first.

    Args:
        probabilities: (images, classes).
        count: at most the number of classes.
    """
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :count]


def label_places(probabilities: Reals, labels: Integers) -> npt.NDArray[np.int64]:
    """Classes that stand before each image's label in the order of `top_classes`: 0 is a hit, (images,).

    Args:
        probabilities: (images, classes).
        labels: (images,), from 0.
    """
    own = probabilities[np.arange(len(labels)), labels][:, np.newaxis]
    lower = np.arange(probabilities.shape[1]) < labels[:, np.newaxis]
    before = (probabilities > own) | ((probabilities == own) & lower)
    return np.asarray(before.sum(axis=1), np.int64)


def top_k_accuracy(places: Integers, k: int) -> float:
    """The share of images whose label is among the k most probable classes.

    Args:
        places: (images,), from `label_places`.
        k: from 1.

    Raises:
        DataError: no images.
    """
    if not len(places):
        raise DataError("no images", "at least one", _CHECK)
    return int(np.count_nonzero(places < k)) / len(places)


def pick_samples(right: npt.NDArray[np.bool_], confidence: Reals, count: int) -> tuple[list[int], list[int]]:
    """Images worth a look: right ones spread over the set, and the wrong ones of which the model is surest.

    Half of each where there are enough.

    Args:
        right: (images,), whether the model hit the label.
        confidence: (images,), probability of the class that the model chose.
        count: of images in all.

    Returns:
        Places of the right ones in the order of the set, and of the wrong ones, the surest first.
    """
    hits, misses = np.flatnonzero(right), np.flatnonzero(~right)
    wrong = min(len(misses), max(count // 2, count - len(hits)))
    spread = np.linspace(0, len(hits) - 1, min(len(hits), count - wrong)).round().astype(np.int64)
    surest = misses[np.argsort(-confidence[misses], kind="stable")[:wrong]]
    return hits[spread].tolist(), surest.tolist()


_CHECK = "check the data set and the model's outputs"
