"""The figure of a confusion matrix: what it shows for few, many and very many classes; and the table of classes."""

from __future__ import annotations

import csv
import io
import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hpcdl.analysis.classification import class_scores
from hpcdl.report.canvas import png
from hpcdl.report.confusion import WITH_NAMES, WITH_TEXT, classes_csv, confusion_figure, row_shares

HOSTILE = "$\\frac{ _a\n<b>|`" + 40 * "x"


def matrix(classes: int, images: int = 50) -> np.ndarray:
    return np.diag(np.full(classes, images))


def drawn(figure: Figure) -> np.ndarray:
    """The pixels of the matrix, (rows, columns, 3), as integers that can be subtracted."""
    pixels = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"), int)
    box = figure.axes[0].get_window_extent()
    bottom, top = round(len(pixels) - box.y0), round(len(pixels) - box.y1)
    return pixels[top:bottom, round(box.x0) : round(box.x1)]


def orange(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0] - pixels[..., 2] > 30


def test_a_cell_tells_its_images_and_their_share_of_the_true_class() -> None:
    counts = np.array([[1500, 498, 2], [0, 3, 1], [0, 0, 0]])
    axes = confusion_figure(counts, ["cat", "dog", "owl"], "title").axes[0]
    told = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert told == {
        (0, 0): "1,500\n75 %",
        (0, 1): "498\n25 %",
        (0, 2): "2\n< 1 %",
        (1, 1): "3\n75 %",
        (1, 2): "1\n25 %",
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "owl"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog", "owl"]
    assert axes.get_ylabel() == "true class" and axes.get_xlabel() == "predicted class"


def test_a_row_is_a_true_class_and_hits_have_another_colour() -> None:
    counts = np.array([[5, 5, 0], [0, 10, 0], [0, 0, 0]])
    pixels = drawn(confusion_figure(counts, ["a", "b", "c"], ""))
    third = len(pixels) // 3
    corners = [[pixels[row * third + 20, column * third + 20] for column in range(3)] for row in range(3)]
    assert (corners[0][0][2] > corners[0][0][0]) and (corners[1][1][2] > corners[1][1][0])  # blue
    assert corners[0][1][0] > corners[0][1][2]  # orange
    assert corners[1][1].sum() < corners[0][0].sum()  # all of a class is darker than half of it
    assert corners[0][2].tolist() == corners[1][0].tolist() == [255, 255, 255]
    assert corners[2][0].tolist() == corners[2][2].tolist() != [255, 255, 255]  # no images: neither right nor wrong


@pytest.mark.parametrize("classes", [WITH_TEXT + 1, WITH_NAMES])
def test_many_classes_are_a_heat_map_with_names(classes: int) -> None:
    counts = matrix(classes)
    counts[3, 17] = 1
    figure = confusion_figure(counts, [f"class {label}" for label in range(classes)], "")
    axes = figure.axes[0]
    assert not axes.texts
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == [f"class {label}" for label in range(classes)]
    boxes = [label.get_window_extent() for label in labels]
    assert all(upper.y0 > lower.y1 - 1 for upper, lower in pairwise(boxes))
    pixels = drawn(figure)
    rows, columns = np.nonzero(orange(pixels))
    cell = len(pixels) / classes
    assert {int(row / cell) for row in rows} == {3} and {int(column / cell) for column in columns} == {17}


def test_one_image_among_a_thousand_classes_can_be_seen() -> None:
    counts = matrix(1000)
    counts[400, 800] = 1
    figure = confusion_figure(counts, [str(label) for label in range(1000)], "")
    pixels = drawn(figure)
    rows, columns = np.nonzero(orange(pixels))
    size = len(pixels)
    assert 4 <= len(rows) <= 16
    assert abs(rows.mean() / size - 0.4) < 0.01 and abs(columns.mean() / size - 0.8) < 0.01
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [str(k) for k in range(0, 1000, 100)]


def test_nothing_is_cut_off_at_the_edges() -> None:
    figure = confusion_figure(matrix(10), ["W" * 40] * 10, "a title")
    png(figure)
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box is not None
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height


@pytest.mark.parametrize("classes", [1, 2, 30])
def test_any_name_and_no_images_at_all_can_be_drawn(classes: int) -> None:
    empty = np.zeros((classes, classes), int)
    picture = png(confusion_figure(empty, [HOSTILE] * classes, HOSTILE))
    assert Image.open(io.BytesIO(picture)).format == "PNG"


def test_shares_are_of_rows() -> None:
    shares = row_shares(np.array([[1, 3], [0, 0]]))
    assert shares[0].tolist() == [0.25, 0.75]
    assert all(math.isnan(share) for share in shares[1])


def test_the_table_has_a_row_a_class_and_nothing_for_what_is_not_defined() -> None:
    names = ["a, b", 'the "c"', "d"]
    counts = np.array([[3, 1, 0], [1, 0, 0], [0, 0, 0]])
    rows = list(csv.DictReader(io.StringIO(classes_csv(class_scores(counts), names))))
    assert [row["class"] for row in rows] == names
    assert [row["label"] for row in rows] == ["0", "1", "2"]
    assert [row["images"] for row in rows] == ["4", "1", "0"]
    assert [float(rows[0][key]) for key in ("precision", "recall", "f1")] == [0.75, 0.75, 0.75]
    assert [rows[2][key] for key in ("precision", "recall", "f1")] == ["", "", ""]
