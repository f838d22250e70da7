"""What the figures have in common: axes, the oversubscribed region, the key and its words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from hpcdl.analysis.scaling import oversubscribed
from hpcdl.report.series import Series, repetitions, variant_names
from hpcdl.report.theme import LIGHT, looks

WIDE = 8.0
"""From this ratio of most to fewest ranks on, the axes are logarithmic."""
ASIDE = 0.036
"""How far series stand apart, as a share of the axis."""
DASHES = (0, (5, 3))


def caption(series: Sequence[Series], *, dots: bool) -> list[str]:
    """What the marks mean, in sentences; `dots` where single repetitions are drawn."""
    points = [m for one in series for m in one.points]
    many = max(len(m.images_per_s.samples) for m in points) > 1
    marks = "median and 95 % bootstrap interval" if many else "the one value"
    sentences = [f"Marks: {marks}, {repetitions(points)}{'; dots: each repetition' * (dots and many)}."]
    if any(one.top.ranks > one.base.ranks for one in series):
        sentences.append("Points joined only as a guide to the eye.")
    if len({one.variant for one in series}) > 1:
        sentences.append("Series stand a little apart sideways.")
    return sentences


def frame(axes: Axes, own: Sequence[Series], unit: str, *, wide: bool) -> None:
    """Axes with a tick at every rank count that was measured; logarithmic in ranks where `wide`."""
    ranks = sorted({m.ranks for one in own for m in one.points})
    room = max(0.08, ASIDE * (len({one.variant for one in own}) / 2 + 1))
    if wide:
        axes.set_xscale("log", base=2)
        factor = (ranks[-1] / ranks[0]) ** room if ranks[-1] > ranks[0] else 1.5
        axes.set_xlim(ranks[0] / factor, ranks[-1] * factor)
    else:
        margin = room * (ranks[-1] - ranks[0]) or 0.5
        axes.set_xlim(ranks[0] - margin, ranks[-1] + margin)
    axes.set_xticks(ranks, [str(count) for count in ranks])
    axes.xaxis.set_minor_locator(NullLocator())
    style(axes, "ranks", unit)


def style(axes: Axes, x: str, y: str) -> None:
    """What all axes look like, and what they are called."""
    axes.set_facecolor(LIGHT.paper)
    axes.set_xlabel(x, color=LIGHT.ink, fontsize=10)
    axes.set_ylabel(y, color=LIGHT.ink, fontsize=10)
    axes.tick_params(which="both", colors=LIGHT.ink, labelsize=9.5)
    axes.grid(color=LIGHT.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_color(LIGHT.ink)
        spine.set_visible(name in ("left", "bottom"))


def from_zero(axes: Axes, *, wide: bool) -> None:
    """The upward axis of rates or ratios: from 0, or logarithmic where `wide`."""
    if wide:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0.0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"))


def shade(axes: Axes, own: Sequence[Series]) -> bool:
    """Shades the rank counts from which on every point has more compute threads than cores."""
    points = sorted((m for one in own for m in one.points), key=lambda m: m.ranks)
    free = [m.ranks for m in points if not oversubscribed(m)]
    crowded = [m.ranks for m in points if oversubscribed(m) and m.ranks > max(free, default=0)]
    if not crowded:
        return any(oversubscribed(m) for m in points)
    left, right = axes.get_xlim()
    start = (max(free) + crowded[0]) / 2 if free else left
    axes.axvspan(start, right, color=LIGHT.shade, linewidth=0, zorder=0)
    axes.set_xlim(left, right)
    return True


def places(one: Series, own: Sequence[Series], variants: Sequence[object], *, wide: bool) -> dict[int, float]:
    """Where a series' points stand: a little beside the tick, so that series do not hide each other."""
    here = [variant for variant in variants if variant in {other.variant for other in own}]
    aside = here.index(one.variant) - (len(here) - 1) / 2
    ranks = [m.ranks for other in own for m in other.points]
    if wide:
        factor = (max(ranks) / min(ranks)) ** (ASIDE * aside)
        return {id(m): m.ranks * factor for m in one.points}
    step = ASIDE * ((max(ranks) - min(ranks)) or 1)
    return {id(m): m.ranks + aside * step for m in one.points}


def legend(figure: Figure, series: Sequence[Series], ideal: str, crowded: bool, note: str) -> None:
    """The key under the axes, never over data, with the note as its last words."""
    names = variant_names(series)
    handles: list[Artist] = [
        Line2D([], [], color=colour, marker=marker, linewidth=0.8, label=fitted(names[variant]))
        for variant, (colour, marker) in looks(names).items()
    ]
    handles.append(Line2D([], [], color=LIGHT.ink, linestyle=DASHES, linewidth=1.0, label=ideal))
    if crowded:
        words = "hollow, grey: more compute threads than cores (oversubscribed)"
        handles.append(Patch(facecolor=LIGHT.shade, edgecolor=LIGHT.ink, linewidth=0.5, label=words))
    key(figure, handles, note)


def key(figure: Figure, handles: Sequence[Artist], note: str, columns: int = 1) -> None:
    """The key of a figure, below its axes; the note is its last words."""
    shown = [*handles, *([Line2D([], [], linestyle="none", label=fitted(note, columns=72))] if note else [])]
    drawn = figure.legend(
        handles=shown, loc="outside lower left", frameon=False, fontsize=9, labelcolor=LIGHT.ink, ncols=columns
    )
    for label in drawn.get_texts():
        label.set_parse_math(False)


def is_wide(series: Sequence[Series]) -> bool:
    """Whether the rank counts are too far apart for linear axes."""
    ranks = [m.ranks for one in series for m in one.points]
    return max(ranks) / min(ranks) >= WIDE


def fitted(words: str, columns: int = 56) -> str:
    """Words broken into lines that fit the figure's width; what exceeds three lines is left out."""
    kept = "\n".join(textwrap.wrap(words, columns, break_on_hyphens=False, max_lines=3, placeholder=" …"))
    # Matplotlib leaves a label that starts with an underscore out of the legend.
    return f" {kept}" if kept.startswith("_") else kept
