"""Scores of a classifier, against examples worked by hand and loops that count."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpcdl.analysis.classification import (
    ClassScore,
    Confusion,
    class_scores,
    confusion_matrix,
    label_places,
    most_confused,
    pick_samples,
    top_classes,
    top_k_accuracy,
)
from hpcdl.errors import DataError

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2], np.int32)
PREDICTED = np.array([0, 0, 0, 1, 1, 0, 0, 2, 0, 1])
MATRIX = [[3, 1, 0], [2, 1, 0], [1, 1, 1]]
"""A row a true class: of three of class 2, one was taken for each class."""


def test_a_row_is_a_true_class() -> None:
    assert confusion_matrix(LABELS, PREDICTED, 3).tolist() == MATRIX


def test_parts_add_up_and_large_sets_do_not_overflow() -> None:
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 1000, (2, 5000)).astype(np.int16)
    whole = confusion_matrix(labels, predicted, 1000)
    parts = sum(confusion_matrix(labels[part], predicted[part], 1000) for part in (slice(0, 17), slice(17, None)))
    assert whole.shape == (1000, 1000) and whole.sum() == 5000
    assert np.array_equal(whole, parts)
    counted = np.zeros((1000, 1000), int)
    for label, prediction in zip(labels, predicted, strict=True):
        counted[label, prediction] += 1
    assert np.array_equal(whole, counted)


def test_no_images_are_a_matrix_of_zeros() -> None:
    assert confusion_matrix(LABELS[:0], PREDICTED[:0], 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("labels", "predicted"), [([0, 3], [0, 0]), ([0, -1], [0, 0]), ([0, 0], [0, 3]), ([0, 0], [0, -1]), ([0, 1], [0])]
)
def test_numbers_that_are_no_class_are_refused(labels: list[int], predicted: list[int]) -> None:
    with pytest.raises(DataError):
        confusion_matrix(np.array(labels), np.array(predicted), 3)


def test_scores_are_those_worked_by_hand() -> None:
    first, second, third = class_scores(np.array(MATRIX))
    assert (first.count, first.predicted, first.correct) == (4, 6, 3)
    assert (first.precision, first.recall) == (3 / 6, 3 / 4)
    assert (second.precision, second.recall) == (1 / 3, 1 / 3)
    assert (third.precision, third.recall) == (1 / 1, 1 / 3)
    for score in (first, second, third):
        assert score.precision and score.recall and score.f1
        assert math.isclose(score.f1, 2 / (1 / score.precision + 1 / score.recall))  # the harmonic mean


def test_what_is_not_defined_is_none_and_not_zero() -> None:
    never_taken, not_there, neither = (ClassScore(5, 0, 0), ClassScore(0, 4, 0), ClassScore(0, 0, 0))
    assert (never_taken.precision, never_taken.recall, never_taken.f1) == (None, 0.0, 0.0)
    assert (not_there.precision, not_there.recall, not_there.f1) == (0.0, None, 0.0)
    assert (neither.precision, neither.recall, neither.f1) == (None, None, None)
    always_wrong = ClassScore(5, 4, 0)
    assert (always_wrong.precision, always_wrong.recall, always_wrong.f1) == (0.0, 0.0, 0.0)


def test_confusions_come_largest_first_without_the_hits() -> None:
    assert most_confused(np.array(MATRIX), 3) == [
        Confusion(1, 0, 2, 2 / 3),
        Confusion(0, 1, 1, 1 / 4),
        Confusion(2, 0, 1, 1 / 3),
    ]
    assert most_confused(np.array(MATRIX), 99) == [*most_confused(np.array(MATRIX), 3), Confusion(2, 1, 1, 1 / 3)]
    assert most_confused(np.diag([4, 5]), 3) == []


def test_places_of_labels_fit_a_sorted_list() -> None:
    random = np.random.default_rng(1)
    probabilities = random.integers(0, 6, (200, 12)) / 30  # with many ties
    labels = random.integers(0, 12, 200)
    top, places = top_classes(probabilities, 12), label_places(probabilities, labels)
    for row, label, order, place in zip(
        probabilities.tolist(), labels.tolist(), top.tolist(), places.tolist(), strict=True
    ):
        assert order == sorted(range(12), key=lambda each: (-row[each], each))
        assert place == order.index(label)
    assert np.array_equal(places == 0, probabilities.argmax(axis=1) == labels)
    assert np.array_equal(top_classes(probabilities, 3), top[:, :3])


def test_top_k_accuracy_counts_labels_among_the_first_k() -> None:
    places = np.array([0, 0, 1, 4, 5])
    assert [top_k_accuracy(places, k) for k in (1, 2, 5, 6)] == [2 / 5, 3 / 5, 4 / 5, 1.0]
    with pytest.raises(DataError, match="no images"):
        top_k_accuracy(places[:0], 1)


def test_samples_are_right_ones_from_all_over_and_the_surest_wrong_ones() -> None:
    right = np.ones(100, bool)
    right[[3, 50, 51, 90]] = False
    confidence = np.full(100, 0.9)
    confidence[[3, 50, 51, 90]] = [0.4, 0.99, 0.5, 0.6]
    assert pick_samples(right, confidence, 6) == ([0, 49, 99], [50, 90, 51])
    few_wrong = pick_samples(right, confidence, 12)
    assert few_wrong[1] == [50, 90, 51, 3] and len(few_wrong[0]) == 8 and few_wrong[0][-1] == 99
    none_right = pick_samples(np.zeros(5, bool), np.array([0.1, 0.5, 0.2, 0.9, 0.3]), 4)
    assert none_right == ([], [3, 1, 4, 2])
    assert pick_samples(np.ones(3, bool), np.ones(3), 10) == ([0, 1, 2], [])
    assert pick_samples(right, confidence, 0) == ([], [])
