"""Throughput, speedup and efficiency against ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from hpcdl.analysis.scaling import oversubscribed
from hpcdl.records import Interval, Measurement
from hpcdl.report.axes import DASHES, caption, fitted, frame, from_zero, is_wide, legend, places, shade
from hpcdl.report.canvas import LINE, PANEL, blank
from hpcdl.report.series import Series, shared_setting
from hpcdl.report.theme import LIGHT, looks

Plot: TypeAlias = Callable[[Axes, Series, dict[int, float], str, str], None]


def throughput(series: Sequence[Series], *, note: bool = True) -> Figure:
    """Images/s against ranks: repetitions, medians with intervals, ideal; a panel for each recipe.

    With `note`, what the marks mean stands below the axes, for a figure that is shown on its own.
    """
    figure = _panels(series, note, "throughput (images/s)", "ideal: the base rate in proportion to ranks", _plot_rates)
    for axes in figure.axes:
        from_zero(axes, wide=is_wide(series))
    return figure


def speedup(series: Sequence[Series], *, note: bool = True) -> Figure:
    """Images/s over the base's against ranks; a panel for each recipe, with the series that have two rank counts."""
    figure = _panels(
        scaled(series), note, "speedup over the base", "ideal: ranks over those of the base", _plot_speedup
    )
    for axes in figure.axes:
        from_zero(axes, wide=is_wide(series))
    return figure


def efficiency(series: Sequence[Series], *, note: bool = True) -> Figure:
    """Parallel efficiency in percent against ranks; a panel for each recipe, as for `speedup`."""
    series = scaled(series)
    figure = _panels(series, note, "parallel efficiency (%)", "ideal: 100 %", _plot_efficiency)
    for axes, recipe in zip(figure.axes, _recipes(series), strict=True):
        own = [one for one in series if one.recipe == recipe]
        highest = max(100.0 * max(m.efficiency, m.efficiency_interval[1]) for one in own for m in one.points)
        axes.set_ylim(0.0, 1.12 * max(100.0, highest))
        axes.axhline(100.0, color=LIGHT.ink, linestyle=DASHES, linewidth=1.0, alpha=0.7, zorder=1)
    return figure


def scaled(series: Sequence[Series]) -> list[Series]:
    """The series with two rank counts or more: one tells nothing of scaling."""
    return [one for one in series if one.top.ranks > one.base.ranks]


def _panels(series: Sequence[Series], note: bool, unit: str, ideal: str, plot: Plot) -> Figure:
    recipes = _recipes(series)
    variants = list(dict.fromkeys(one.variant for one in series))
    look = looks(variants)
    figure = blank(PANEL * len(recipes) + LINE * (len(variants) + 2), note=note)
    crowded = False
    for row, recipe in enumerate(recipes):
        own = [one for one in series if one.recipe == recipe]
        axes = figure.add_subplot(len(recipes), 1, row + 1)
        frame(axes, own, unit, wide=is_wide(series))
        crowded |= shade(axes, own)
        for one in own:
            colour, marker = look[one.variant]
            plot(axes, one, places(one, own, variants, wide=is_wide(series)), colour, marker)
        title = recipe if len(recipes) > 1 else shared_setting(series)
        axes.set_title(fitted(title, columns=48), fontsize=10, color=LIGHT.ink, loc="left", parse_math=False)
    words = caption(series, dots=plot is _plot_rates) if note else []
    legend(figure, series, ideal, crowded, " ".join(words))
    return figure


def _plot_rates(axes: Axes, one: Series, at: dict[int, float], colour: str, marker: str) -> None:
    _ideal(axes, one, one.base.images_per_s.median, colour)
    for m in one.points:
        samples = m.images_per_s.samples
        if len(samples) > 1:
            beside = ScaledTranslation(5.5 / 72, 0.0, axes.figure.dpi_scale_trans)
            x = [at[id(m)]] * len(samples)
            dots = axes.plot(x, samples, ".", color=colour, alpha=0.4, markersize=4.5, markeredgewidth=0, zorder=2)
            dots[0].set_transform(axes.transData + beside)
    _points(axes, one, at, [m.images_per_s for m in one.points], colour, marker)


def _plot_speedup(axes: Axes, one: Series, at: dict[int, float], colour: str, marker: str) -> None:
    _ideal(axes, one, 1.0, colour)
    _points(axes, one, at, [_ratio(m, m.speedup, m.speedup_interval, 1.0) for m in one.points], colour, marker)


def _plot_efficiency(axes: Axes, one: Series, at: dict[int, float], colour: str, marker: str) -> None:
    ratios = [_ratio(m, m.efficiency, m.efficiency_interval, 100.0) for m in one.points]
    _points(axes, one, at, ratios, colour, marker)


def _ideal(axes: Axes, one: Series, base: float, colour: str) -> None:
    ends = [one.base.ranks, one.top.ranks]
    ideal = [base * ranks / one.base.ranks for ranks in ends]
    axes.plot(ends, ideal, color=colour, linestyle=DASHES, linewidth=1.0, alpha=0.8, zorder=1)


def _ratio(m: Measurement, value: float, ends: tuple[float, float], scale: float) -> Interval:
    samples = m.images_per_s.samples
    return Interval(median=scale * value, low=scale * ends[0], high=scale * ends[1], samples=samples)


def _points(
    axes: Axes, one: Series, at: dict[int, float], intervals: Sequence[Interval], colour: str, marker: str
) -> None:
    x = [at[id(m)] for m in one.points]
    if len({m.ranks for m in one.points}) == len(one.points):  # else some differ in nodes, not in ranks
        axes.plot(x, [value.median for value in intervals], color=colour, linewidth=0.8, alpha=0.6, zorder=3)
    for place, m, value in zip(x, one.points, intervals, strict=True):
        if len(value.samples) > 1:
            ends = [[max(value.median - value.low, 0.0)], [max(value.high - value.median, 0.0)]]
            axes.errorbar([place], [value.median], yerr=ends, color=colour, linewidth=1.3, capsize=3.5, zorder=4)
        fill = LIGHT.paper if oversubscribed(m) else colour
        axes.plot([place], [value.median], marker, color=colour, markerfacecolor=fill, markersize=5.5, zorder=5)


def _recipes(series: Sequence[Series]) -> list[str]:
    return list(dict.fromkeys(one.recipe for one in series))
