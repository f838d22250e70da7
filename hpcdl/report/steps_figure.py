"""Where a step's time goes, as stacked bars; and each rank's own time beside the median rank's."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hpcdl.analysis.stats import median
from hpcdl.records import Measurement, Repetition
from hpcdl.report import text
from hpcdl.report.axes import DASHES, fitted, key, style
from hpcdl.report.canvas import LINE, PANEL, blank
from hpcdl.report.series import Series, variant_names
from hpcdl.report.theme import LIGHT, looks

PARTS = ("compute", "input wait", "communication", "other")
COLOURS = dict(zip(PARTS, ("#0072B2", "#E69F00", "#CC79A7", "#8c959f"), strict=True))
BAR = 0.27
"""Inches of a bar with its gap."""
STEPS = "Medians over every measured step of every rank; communication is what compute does not hide."
RANKS = (
    "A rank's own time is its step without exposed communication: the median of a repetition's steps; marks: median "
    "over the repetitions, dots: each. Ranks are names, so no line joins them."
)


def parts(m: Measurement) -> list[tuple[str, float]]:
    """The parts of a step, in seconds, by their names."""
    s = m.step_seconds
    return list(zip(PARTS, (s.compute, s.input, s.communication, s.other), strict=True))


def steps(series: Sequence[Series], *, note: bool = True) -> Figure:
    """A bar for each point, in milliseconds; a panel for each recipe."""
    recipes = list(dict.fromkeys(one.recipe for one in series))
    names = variant_names(series)
    many = sum(len(one.points) for one in series)
    figure = blank(BAR * many + 0.75 * len(recipes) + LINE * 2, note=note)
    heights = [sum(len(one.points) for one in series if one.recipe == recipe) + 1 for recipe in recipes]
    panels = figure.subplots(len(recipes), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, recipe in zip(panels, recipes, strict=True):
        own = [(one, m) for one in series if one.recipe == recipe for m in one.points]
        labels = [f"{names[one.variant]}, {m.ranks}" if len(names) > 1 else str(m.ranks) for one, m in own]
        left = [0.0] * len(own)
        for name in PARTS:
            widths = [1000.0 * dict(parts(m))[name] for _, m in own]
            axes.barh(range(len(own)), widths, left=left, height=0.72, color=COLOURS[name], linewidth=0)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        style(axes, "milliseconds of a step", "ranks" if len(names) == 1 else "series, ranks")
        axes.set_yticks(range(len(own)), [fitted(label, 40) for label in labels], parse_math=False)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        if len(recipes) > 1:
            axes.set_title(fitted(recipe, 48), fontsize=10, color=LIGHT.ink, loc="left", parse_math=False)
    handles = [Patch(facecolor=COLOURS[name], label=name) for name in PARTS]
    key(figure, handles, STEPS if note else "", columns=1 if note else 4)
    return figure


def uneven(series: Sequence[Series]) -> list[Series]:
    """The series whose largest point has several ranks to compare."""
    return [one for one in series if one.top.ranks > 1]


def imbalance(series: Sequence[Series], *, note: bool = True) -> Figure:
    """Each rank's own time over the median rank's, at each series' most ranks; a panel for each recipe."""
    series = uneven(series)
    recipes = list(dict.fromkeys(one.recipe for one in series))
    names = variant_names(series)
    look = looks(names)
    figure = blank((PANEL - 0.8) * len(recipes) + LINE * (len(names) + 1), note=note)
    panels = figure.subplots(len(recipes), 1, squeeze=False)[:, 0]
    for axes, recipe in zip(panels, recipes, strict=True):
        own = [one for one in series if one.recipe == recipe]
        for at, one in enumerate(own):
            colour, marker = look[one.variant]
            aside = 0.12 * (at - (len(own) - 1) / 2)
            each = [own_times(repetition) for repetition in one.top.repetitions]
            for rank in range(len(each[0])):
                ratios = [times[rank] for times in each if rank < len(times)]
                if len(ratios) > 1:
                    axes.plot([rank + aside] * len(ratios), ratios, ".", color=colour, alpha=0.4, markersize=4.5)
                axes.plot([rank + aside], [median(ratios)], marker, color=colour, markersize=5.5)
        axes.axhline(1.0, color=LIGHT.ink, linestyle=DASHES, linewidth=1.0, alpha=0.7, zorder=1)
        style(axes, "rank", "own time / median rank's")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0.9), max(high, 1.1))
        if len(recipes) > 1:
            axes.set_title(fitted(recipe, 48), fontsize=10, color=LIGHT.ink, loc="left", parse_math=False)
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=fitted(label))
        for label, (colour, marker) in ((_with_ranks(names[one.variant], one), look[one.variant]) for one in series)
    ]
    handles = list({handle.get_label(): handle for handle in handles}.values())
    key(figure, handles, RANKS if note else "")
    return figure


def own_times(repetition: Repetition) -> list[float]:
    """Each rank's own time over the median rank's, in the order of ranks."""
    ranks = sorted(repetition.ranks, key=lambda timing: timing.rank)
    own = [median([step - wait for step, wait in zip(each.step, each.communication, strict=True)]) for each in ranks]
    middle = median(own)
    return [time / middle for time in own]


def _with_ranks(name: str, one: Series) -> str:
    return f"{name}, {text.count(one.top.ranks, 'rank')}"
