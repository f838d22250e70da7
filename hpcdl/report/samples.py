"""Images of a data set as a labelled grid, and how many there are of each class.

Matplotlib's object API only, as in `figures`.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from PIL import Image

from hpcdl.data.images import Images, Labels, Split
from hpcdl.data.inspect_images import FORMATS
from hpcdl.errors import DataError
from hpcdl.report.axes import DASHES
from hpcdl.report.canvas import DPI
from hpcdl.report.theme import LIGHT, Theme

Pixels = npt.NDArray[np.uint8]
"""(height, width, channels), or (height, width) for grey."""
Counts = npt.NDArray[np.intp]
"""(classes,), images of each."""
LARGEST = 400
"""Pixels of an image's longer side that a grid needs; larger stored images are reduced when they are decoded."""
CELL, GAP, LINE = 1.1, 0.14, 0.16
"""Inches: an image's longer side, the space between two, and a line of a caption."""
MARGIN = 0.2
LETTERS = 16
"""Letters of a caption's line that fit below an image."""
LINES = 3
"""Lines of a caption."""
APART = 0.09
"""Inches between an image and its caption: room for a thick frame."""
MANY = 60
"""A grid with more images has fewer dots an inch, for its file would be large."""
WIDEST = 1.6
"""Columns of a grid to its rows."""
NAMED = 40
"""Up to so many classes each has a bar with its name and count."""
WIDTH = 7.0
"""Inches of the classes' figure."""
LONGEST = 24
"""Letters of a class's name that fit beside a bar."""
WIDE = 50
"""From this ratio of most to fewest images of a class on, the curve's axis is logarithmic."""


def sample_grid(
    images: Sequence[Pixels],
    captions: Sequence[str],
    title: str,
    *,
    right: Sequence[bool] | None = None,
    theme: Theme = LIGHT,
) -> Figure:
    """Images in rows, each with its caption below.

    Args:
        images: uint8, (height, width, channels) or (height, width), of any sizes; each is fitted into one square.
        captions: one an image; what exceeds three lines is cut.
        title: its first line stands out.
        right: one an image where these are predictions: right ones get a thin frame and a tick, wrong ones a thick
            frame in another colour and a cross, which a line above the images explains.
        theme: colours.

    Raises:
        DataError: no images.
    """
    if not images:
        raise DataError("no images", "at least one for a grid", "choose more")
    columns = min(len(images), math.ceil(math.sqrt(WIDEST * len(images))))
    rows = math.ceil(len(images) / columns)
    marks = [None] * len(images) if right is None else right
    words = [_caption(caption, mark) for caption, mark in zip(captions, marks, strict=True)]
    below = APART + LINE * max(word.count("\n") + 1 for word in words)
    width = max(columns * (CELL + GAP) - GAP, 4.2) + 2 * MARGIN
    heading = _wrapped(title, width)
    above = MARGIN + 0.19 * len(heading) + (0.22 if right is not None else 0.0) + 0.06
    height = above + rows * (CELL + below + GAP) - GAP + MARGIN
    figure = Figure(figsize=(width, height), dpi=DPI if len(images) <= MANY else 0.6 * DPI)
    figure.set_facecolor(theme.paper)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    _head(axes, heading, theme)
    if right is not None:
        _legend(axes, above - 0.16, theme)
    for place, (image, word, mark) in enumerate(zip(images, words, marks, strict=True)):
        row, column = divmod(place, columns)
        left, top = MARGIN + column * (CELL + GAP), above + row * (CELL + below + GAP)
        _place(axes, image, left, top, mark, theme)
        axes.text(
            left + CELL / 2,
            top + CELL + APART,
            word,
            ha="center",
            va="top",
            fontsize=_letters(word),
            linespacing=1.15,
            color=theme.ink,
            parse_math=False,
        )
    # Inches from the upper left corner; after the images, which would set other limits.
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def class_histogram(labels: Labels, classes: Sequence[str], title: str, *, theme: Theme = LIGHT) -> Figure:
    """How many images each class has: a bar a class, and above 40 classes the curve of the sorted counts.

    Args:
        labels: (samples,), from 0.
        classes: their names, in the order of the labels.
        title: its first line stands out.
        theme: colours.

    Raises:
        DataError: no labels, or one outside of the classes.
    """
    if not len(labels) or not 0 <= labels.min() <= labels.max() < len(classes):
        told = f"labels from {labels.min()} to {labels.max()}" if len(labels) else "no labels"
        raise DataError(told, f"labels from 0 to {len(classes) - 1}", "check the data set")
    counts = np.bincount(labels, minlength=len(classes))
    few = len(classes) <= NAMED
    heading = _wrapped(title if few else f"{title}\n{_spread(counts, classes)}", WIDTH)
    above, below = MARGIN + 0.19 * len(heading) + 0.16, 0.55
    height = above + (max(0.25 * len(classes), 0.6) if few else 3.2) + below
    beside = 0.35 + (max(len(_cut(name, LONGEST)) for name in classes) * 0.085 if few else 0.45)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    figure.set_facecolor(theme.paper)
    head = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    head.set_axis_off()
    _head(head, heading, theme)
    head.set(xlim=(0, WIDTH), ylim=(height, 0))
    inches = WIDTH - beside - 0.3
    place = (beside / WIDTH, below / height, inches / WIDTH, 1 - (above + below) / height)
    axes = figure.add_axes(place, facecolor=theme.paper)
    if few:
        _bars(axes, inches, counts, classes, theme)
    else:
        _curve(axes, counts, theme)
    axes.tick_params(colors=theme.ink, labelsize=8.5, length=0)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_color(theme.ink)
        spine.set_visible(name in ("left", "bottom"))
    return figure


def pixels(split: Split, places: npt.NDArray[np.int64]) -> list[Pixels]:
    """Images of a split as a grid takes them: those that are stored as large files come reduced.

    Args:
        split: of a data set.
        places: (n,), which of them.

    Raises:
        DataError: one cannot be read or decoded.
    """
    if isinstance(split, Images):
        return list(split.pixels[places])
    stored = zip(places, split.read(places), strict=True)
    if split.shapes is None:
        return [_decoded(data, split.name(int(place))) for place, data in stored]
    return [np.frombuffer(data, np.uint8).reshape(split.shapes[place]) for place, data in stored]


def prediction_caption(label: int, predicted: int, probability: float, classes: Sequence[str]) -> str:
    """What a model took an image for, with what probability, and for a wrong one the label in a line of its own."""
    name, percent = _cut(classes[predicted], LETTERS - 2), f"({100 * probability:.0f} %)"
    between = " " if len(name) + len(percent) < LETTERS - 2 else "\n"
    told = f"{name}{between}{percent}"
    return told if label == predicted else f"{told}\nis {_cut(classes[label], LETTERS - 3)}"


def _decoded(data: bytes, name: str) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.mode.startswith("I"):  # 16 bits
                return (np.asarray(image) >> 8).astype(np.uint8)
            image.thumbnail((LARGEST, LARGEST))
            return np.asarray(image.convert("L" if image.mode in {"1", "L", "LA"} else "RGB"))
    # What a decoder raises for damaged bytes is not in its contract: OSError, SyntaxError, struct.error and more.
    except Exception as error:
        raise DataError(
            f"{name}: {error or type(error).__name__}", "an image that can be decoded", "replace it"
        ) from None


def _place(axes: Axes, image: Pixels, left: float, top: float, right: bool | None, theme: Theme) -> None:
    """Draws an image with a frame, as large as its square allows and above its caption."""
    rows, columns = image.shape[:2]
    width, height = (CELL * side / max(rows, columns) for side in (columns, rows))
    left, top = left + (CELL - width) / 2, top + CELL - height
    shown = image if image.ndim == 3 and image.shape[2] >= 3 else np.reshape(image, (rows, columns, -1))[..., 0]
    axes.imshow(
        shown[..., :3] if shown.ndim == 3 else shown,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(left, left + width, top + height, top),
        interpolation="antialiased",
    )
    colour, line = (theme.grid, 0.5) if right is None else (theme.cycle[0], 1.5) if right else (theme.cycle[1], 3.5)
    out = line / 144  # the line's inner edge touches the image
    frame = Rectangle((left - out, top - out), width + 2 * out, height + 2 * out, fill=False, ec=colour, lw=line)
    axes.add_patch(frame)


def _head(axes: Axes, lines: Sequence[tuple[str, bool]], theme: Theme) -> None:
    for number, (line, first) in enumerate(lines):
        size, weight = (10.5, "bold") if first else (9.5, "normal")
        top = MARGIN + 0.19 * number
        axes.text(MARGIN, top, line, va="top", fontsize=size, fontweight=weight, color=theme.ink, parse_math=False)


def _legend(axes: Axes, top: float, theme: Theme) -> None:
    left = MARGIN
    for words, colour in (("✓ right: thin frame", theme.cycle[0]), ("✗ wrong: thick frame", theme.cycle[1])):
        axes.text(left, top, words, va="center", fontsize=8.5, fontweight="bold", color=colour)
        left += 1.6


def _bars(axes: Axes, inches: float, counts: Counts, classes: Sequence[str], theme: Theme) -> None:
    places, total, most = range(len(classes)), int(counts.sum()), int(counts.max())
    words = [f" {count:,}  ({_percent(count / total)})" for count in counts]
    axes.barh(places, counts, height=0.72, color=theme.cycle[0])
    for place, count, word in zip(places, counts, words, strict=True):
        axes.text(count, place, word, va="center", fontsize=8.5, color=theme.ink)
    axes.set_yticks(places, [_cut(name, LONGEST) for name in classes])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_xlim(0, most * inches / (inches - 0.08 * max(len(word) for word in words)))
    axes.set_xlabel("images", color=theme.ink, fontsize=9)
    _thousands(axes.xaxis)


def _curve(axes: Axes, counts: Counts, theme: Theme) -> None:
    falling = np.sort(counts)[::-1]
    most, fewest = int(falling[0]), int(falling[falling > 0][-1])
    axes.stairs(falling, fill=True, color=theme.cycle[0])
    if most > int(falling[-1]):
        axes.axhline(float(np.median(counts)), color=theme.cycle[1], linewidth=1.2, linestyle=DASHES)
    axes.set_xlim(0, len(counts))
    axes.set_xlabel("classes, those with the most images first", color=theme.ink, fontsize=9)
    wide = most >= WIDE * fewest
    words = f"images of the class{', logarithmic' if wide else ''}"
    axes.set_ylabel(words, color=theme.ink, fontsize=9)
    axes.grid(axis="y", color=theme.grid, linewidth=0.6)
    _thousands(axes.xaxis)
    if wide:
        axes.set_yscale("log")
        axes.set_ylim(0.7 * fewest, 1.5 * most)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    else:
        axes.set_ylim(0, 1.08 * most)
        _thousands(axes.yaxis)


def _spread(counts: Counts, classes: Sequence[str]) -> str:
    """Most, median and fewest images of a class, in words."""
    most, fewest, empty = int(np.argmax(counts)), int(np.argmin(counts)), int(np.count_nonzero(counts == 0))
    if counts[most] == counts[fewest]:
        return f"each class has {counts[most]:,}"
    ends = [f"{counts[end]:,} ({_cut(classes[end], LONGEST)})" for end in (most, fewest)]
    least = f"{empty:,} classes have none" if empty > 1 else f"fewest {ends[1]}"
    return f"most {ends[0]}, median {np.median(counts):,.0f} (dashed), {least}"


def _percent(share: float) -> str:
    """A share as a percentage that is 0 or 100 only where that is so."""
    percent = round(100 * share, 1)
    if share and not percent:
        return "< 0.1 %"
    return "> 99.9 %" if share < 1 and percent == 100 else f"{percent:.1f} %"


def _thousands(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _caption(words: str, mark: bool | None) -> str:
    """At most two lines; a tick or a cross goes before a prediction."""
    marked = words if mark is None else f"{'✓' if mark else '✗'} {words}"
    lines = [part for line in marked.split("\n") for part in textwrap.wrap(line, LETTERS)]
    if len(lines) > LINES:
        lines[LINES - 1] = f"{lines[LINES - 1][: LETTERS - 1]}…"
    return "\n".join(lines[:LINES])


def _letters(caption: str) -> float:
    """Points of a caption's letters: 8.5, or what keeps wide ones off the neighbours."""
    usual, room = FontProperties(size=8.5), 72 * (CELL + GAP - 0.05)
    widest = max(text_to_path.get_text_width_height_descent(line, usual, False)[0] for line in caption.split("\n"))
    return 8.5 * min(1.0, room / max(widest, 1.0))


def _wrapped(title: str, width: float) -> list[tuple[str, bool]]:
    """What fits the lines of a figure of that width in inches, and whether it belongs to the title's first line."""
    inches = width - 2 * MARGIN
    lines = enumerate(title.split("\n"))
    return [
        (part, not number)
        for number, line in lines
        for part in textwrap.wrap(line, int(inches * (13 if number else 12)))
    ]


def _cut(words: str, longest: int) -> str:
    told = " ".join(words.split())
    return told if len(told) <= longest else f"{told[: longest - 1]}…"
