"""Throughput and efficiency against ranks, as PNG or SVG.

Matplotlib's object API only: no pyplot, so no global state and no display.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from hpcdl.analysis.scaling import oversubscribed
from hpcdl.records import Interval
from hpcdl.report.axes import DASHES, caption, fitted, frame, is_wide, legend, places, shade
from hpcdl.report.series import Series, shared_setting
from hpcdl.report.theme import LIGHT, Theme, looks

WIDTH = 5.8
"""Inches: the text width of an A4 page with wide margins."""
SCREEN_WIDTH = 5.0
"""Inches: a little less, so that letters stay readable where a page shrinks the figure to a phone."""
PANEL = 3.3
DPI = 200
Plot: TypeAlias = Callable[[Axes, Series, dict[int, float], str, str, Theme], None]


class Draw(Protocol):
    """What `throughput` and `efficiency` are."""

    def __call__(self, series: Sequence[Series], *, theme: Theme = ..., note: bool = ...) -> Figure: ...


def throughput(series: Sequence[Series], *, theme: Theme = LIGHT, note: bool = True) -> Figure:
    """Images/s against ranks: repetitions, medians with intervals, ideal; a panel for each recipe.

    With `note`, what the marks mean stands below the axes, for a figure that is shown on its own.
    """
    figure = _panels(
        series, theme, note, "throughput (images/s)", "ideal: the base rate in proportion to ranks", _plot_rates
    )
    for axes in figure.axes:
        if is_wide(series):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.set_ylim(bottom=0.0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"))
    return figure


def efficiency(series: Sequence[Series], *, theme: Theme = LIGHT, note: bool = True) -> Figure:
    """Parallel efficiency in percent against ranks; a panel for each recipe."""
    figure = _panels(series, theme, note, "parallel efficiency (%)", "ideal: 100 %", _plot_efficiency)
    for axes, recipe in zip(figure.axes, _recipes(series), strict=True):
        own = [one for one in series if one.recipe == recipe]
        highest = max(100.0 * max(m.efficiency, m.efficiency_interval[1]) for one in own for m in one.points)
        axes.set_ylim(0.0, 1.12 * max(100.0, highest))
        axes.axhline(100.0, color=theme.ink, linestyle=DASHES, linewidth=1.0, alpha=0.7, zorder=1)
        if all(one.top.ranks == one.base.ranks for one in own):
            words = "One rank count was measured:\nefficiency needs two."
            box = {"facecolor": theme.paper, "edgecolor": "none"}
            axes.text(0.5, 0.45, words, transform=axes.transAxes, ha="center", va="center", color=theme.ink, bbox=box)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG, at print resolution."""
    file = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(file, format="png")
    return file.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as SVG with its letters as outlines, the same bytes for the same figure."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "hpcdl", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _panels(series: Sequence[Series], theme: Theme, note: bool, unit: str, ideal: str, plot: Plot) -> Figure:
    recipes = _recipes(series)
    variants = list(dict.fromkeys(one.variant for one in series))
    look = looks(variants, theme)
    height = PANEL * len(recipes) + 0.22 * (len(variants) + 2 + 3 * note)
    figure = Figure(figsize=(WIDTH if note else SCREEN_WIDTH, height), dpi=DPI, layout="constrained")
    figure.set_facecolor(theme.paper)
    crowded = False
    for row, recipe in enumerate(recipes):
        own = [one for one in series if one.recipe == recipe]
        axes = figure.add_subplot(len(recipes), 1, row + 1)
        frame(axes, own, theme, unit, wide=is_wide(series))
        crowded |= shade(axes, own, theme)
        for one in own:
            colour, marker = look[one.variant]
            plot(axes, one, places(one, own, variants, wide=is_wide(series)), colour, marker, theme)
        title = recipe if len(recipes) > 1 else shared_setting(series)
        axes.set_title(fitted(title, columns=48), fontsize=10, color=theme.ink, loc="left", parse_math=False)
    words = caption(series, dots=plot is _plot_rates) if note else []
    legend(figure, series, theme, ideal, crowded, " ".join(words))
    return figure


def _plot_rates(axes: Axes, one: Series, at: dict[int, float], colour: str, marker: str, theme: Theme) -> None:
    base, ends = one.base, [one.base.ranks, one.top.ranks]
    ideal = [base.images_per_s.median * ranks / base.ranks for ranks in ends]
    axes.plot(ends, ideal, color=colour, linestyle=DASHES, linewidth=1.0, alpha=0.8, zorder=1)
    for m in one.points:
        samples = m.images_per_s.samples
        if len(samples) > 1:
            beside = ScaledTranslation(5.5 / 72, 0.0, axes.figure.dpi_scale_trans)
            x = [at[id(m)]] * len(samples)
            dots = axes.plot(x, samples, ".", color=colour, alpha=0.4, markersize=4.5, markeredgewidth=0, zorder=2)
            dots[0].set_transform(axes.transData + beside)
    _points(axes, one, at, [m.images_per_s for m in one.points], colour, marker, theme)


def _plot_efficiency(axes: Axes, one: Series, at: dict[int, float], colour: str, marker: str, theme: Theme) -> None:
    intervals = [
        Interval(
            median=100.0 * m.efficiency,
            low=100.0 * m.efficiency_interval[0],
            high=100.0 * m.efficiency_interval[1],
            samples=m.images_per_s.samples,
        )
        for m in one.points
    ]
    _points(axes, one, at, intervals, colour, marker, theme)


def _points(
    axes: Axes,
    one: Series,
    at: dict[int, float],
    intervals: Sequence[Interval],
    colour: str,
    marker: str,
    theme: Theme,
) -> None:
    x = [at[id(m)] for m in one.points]
    axes.plot(x, [value.median for value in intervals], color=colour, linewidth=0.8, alpha=0.6, zorder=3)
    for place, m, value in zip(x, one.points, intervals, strict=True):
        if len(value.samples) > 1:
            ends = [[max(value.median - value.low, 0.0)], [max(value.high - value.median, 0.0)]]
            axes.errorbar([place], [value.median], yerr=ends, color=colour, linewidth=1.3, capsize=3.5, zorder=4)
        fill = theme.paper if oversubscribed(m) else colour
        axes.plot([place], [value.median], marker, color=colour, markerfacecolor=fill, markersize=5.5, zorder=5)


def _recipes(series: Sequence[Series]) -> list[str]:
    return list(dict.fromkeys(one.recipe for one in series))
