"""A classifier's confusion matrix as a figure, and its classes as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from hpcdl.analysis.classification import ClassScore
from hpcdl.report.canvas import DPI
from hpcdl.report.theme import LIGHT, Theme

Matrix = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
WITH_TEXT = 20
"""Up to so many classes each cell tells its count and its share."""
WITH_NAMES = 120
"""Up to so many classes each row has its name; more have numbers."""
LONGEST = 18
"""Letters of a class's name that fit beside a row."""
PALE, PALE_DOT = 0.15, 0.5
"""How far the palest cell that is not empty is from the paper's colour, so that single images can be seen; the
second where a cell is a dot."""
SCALE = PowerNorm(0.5, 0.0, 1.0)
"""Colours grow with the root of the share: most confusions are rare."""


def confusion_figure(matrix: Matrix, classes: Sequence[str], title: str, theme: Theme = LIGHT) -> Figure:
    """The matrix in two colours: hits on the diagonal, confusions beside it, each by its share of the row.

    Up to 20 classes a cell holds the images and their percentage of the true class; above that the figure is
    a heat map. The row of a class without images is grey.

    Args:
        matrix: (classes, classes), a row a true class, a column a predicted one.
        classes: their names, in the order of the labels.
        title: stands above.
        theme: colours.
    """
    count = len(classes)
    shares = row_shares(matrix)
    names, size = _names(classes)
    side = _side(count)
    # Inches around the matrix. Explicit, for a cell of a large one must be a whole number of pixels.
    beside = round((0.5 + max(_width(name, size) for name in names)) * DPI) / DPI
    above, right = 0.45, 1.0
    width, height = beside + side + right, above + side + beside
    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.set_facecolor(theme.paper)
    axes = figure.add_axes((beside / width, beside / height, side / width, side / height))
    palest = PALE if count <= WITH_NAMES else PALE_DOT
    axes.imshow(_colours(shares, palest, theme), interpolation="nearest", aspect="auto")
    _label(axes, names, size, count, theme)
    if count <= WITH_TEXT:
        _write(axes, matrix, shares, theme)
    figure.text(0.12 / width, 1 - 0.16 / height, title, fontsize=10, color=theme.ink, va="top", parse_math=False)
    key_height = min(side, 3.0)
    place = ((beside + side + 0.2) / width, (beside + (side - key_height) / 2) / height, 0.24 / width)
    _key(figure.add_axes((*place, key_height / height)), palest, theme)
    return figure


def row_shares(matrix: Matrix) -> Floats:
    """Each cell as a share of its row; NaN in the row of a class without images."""
    images = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, images, out=np.full(matrix.shape, np.nan), where=images > 0)


def classes_csv(scores: Sequence[ClassScore], classes: Sequence[str]) -> str:
    """classes.csv: a row a class, ratios unrounded; what is not defined is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["label", "class", "images", "predicted", "correct", "precision", "recall", "f1"])
    for label, (name, score) in enumerate(zip(classes, scores, strict=True)):
        writer.writerow(
            [label, name, score.count, score.predicted, score.correct, score.precision, score.recall, score.f1]
        )
    return file.getvalue()


def fitted_name(name: str, longest: int = LONGEST) -> str:
    """A class's name on one line, cut where it is too long."""
    words = " ".join(name.split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def _side(count: int) -> float:
    """Inches of the matrix, whose cells are whole pixels."""
    if count <= WITH_TEXT:
        return max(2.6, 0.48 * count)
    return count * max(2, 1700 // count if count <= WITH_NAMES else 1600 // count) / DPI


def _names(classes: Sequence[str]) -> tuple[list[str], float]:
    """What stands beside rows, and the size of its letters in points."""
    count = len(classes)
    if count > WITH_NAMES:
        return [str(place) for place in _numbered(count)], 8.0
    return [fitted_name(name) for name in classes], min(9.0, 72 * 0.85 * _side(count) / count)


def _width(words: str, size: float) -> float:
    """Inches of words in letters of that size in points."""
    width, _, _ = text_to_path.get_text_width_height_descent(words, FontProperties(size=size), ismath=False)
    return float(width) / 72


def _numbered(count: int) -> range:
    return range(0, count, 10 ** (len(str(count)) - 2))


def _colours(shares: Floats, palest: float, theme: Theme) -> Floats:
    """Colours of the cells, (classes, classes, 3)."""
    diagonal = np.eye(len(shares), dtype=bool)[:, :, np.newaxis]
    filled = np.nan_to_num(shares)
    right, wrong = (_tint(filled, colour, palest, theme) for colour in theme.cycle[:2])
    colours = np.where(diagonal, right, wrong)
    return np.where(np.isnan(shares)[:, :, np.newaxis], to_rgb(theme.shade), colours)


def _tint(shares: Floats, colour: str, palest: float, theme: Theme) -> Floats:
    """Paper where the share is 0, and from the palest tint to the whole colour at a share of 1; (…, 3)."""
    ramp = LinearSegmentedColormap.from_list("", [theme.paper, colour])
    strength = np.where(shares > 0, palest + (1 - palest) * np.asarray(SCALE(shares)), 0.0)
    return np.asarray(ramp(strength))[..., :3]


def _write(axes: Axes, matrix: Matrix, shares: Floats, theme: Theme) -> None:
    """Count and percentage in each cell that is not empty."""
    for row, column in zip(*np.nonzero(matrix), strict=True):
        share = float(shares[row, column])
        percent = f"{100 * share:.0f} %" if round(100 * share) else "< 1 %"
        ink = theme.paper if share > 0.4 else theme.ink
        words = f"{matrix[row, column]:,}\n{percent}"
        axes.text(column, row, words, ha="center", va="center", color=ink, fontsize=7, linespacing=1.1)
    axes.set_xticks(np.arange(0.5, len(matrix) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(matrix) - 1), minor=True)
    axes.grid(which="minor", color=theme.grid, linewidth=0.6)
    axes.tick_params(which="minor", length=0)


def _label(axes: Axes, names: Sequence[str], size: float, count: int, theme: Theme) -> None:
    numbered = count > WITH_NAMES
    places = list(_numbered(count) if numbered else range(count))
    what = "class, by its label in classes.csv" if numbered else "class"
    axes.set_ylabel(f"true {what}", color=theme.ink, fontsize=10)
    axes.set_xlabel(f"predicted {what}", color=theme.ink, fontsize=10)
    axes.set_xticks(places, names, rotation=0 if numbered else 90)
    axes.set_yticks(places, names)
    axes.tick_params(colors=theme.ink, labelsize=size, length=2)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    for spine in axes.spines.values():
        spine.set_color(theme.grid)


def _key(axes: Axes, palest: float, theme: Theme) -> None:
    """Both colours beside one scale of percentages."""
    shares = np.linspace(0.0, 1.0, 400) ** 2  # even steps of colour, as SCALE has it
    bars = [_tint(shares, colour, palest, theme) for colour in theme.cycle[:2]]
    axes.imshow(np.stack(bars, axis=1), extent=(0, 2, 0, 1), origin="lower", aspect="auto", interpolation="nearest")
    ticks = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0]
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([tick**0.5 for tick in ticks], [f"{100 * tick:.0f}" for tick in ticks])
    axes.set_xticks([0.5, 1.5], ["right", "wrong"], rotation=90)
    axes.set_ylabel("% of the true class", color=theme.ink, fontsize=9)
    axes.tick_params(colors=theme.ink, labelsize=8, length=2)
    axes.tick_params(axis="x", length=0)
    for spine in axes.spines.values():
        spine.set_color(theme.grid)
