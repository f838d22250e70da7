"""What the input costs, what an epoch costs, time to an accuracy, and a forecast, as figures."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from hpcdl.records import Interval, ToAccuracy
from hpcdl.report.axes import DASHES, WIDE, fitted, from_zero, key, style
from hpcdl.report.canvas import LINE, PANEL, blank
from hpcdl.report.outlook import Outlook
from hpcdl.report.pairs import Pair
from hpcdl.report.series import Series, variant_names
from hpcdl.report.theme import LIGHT, MARKERS, looks
from hpcdl.report.work import Work, device_name

INPUTS = (
    "Marks: ratio of medians with its 95 % bootstrap interval (none for one repetition); 100 % would be an input "
    "that costs nothing. Different points, so no line joins them."
)
COSTS = (
    "The number at a mark is its ranks. To the left is faster, up is dearer: where a line climbs steeply, more ranks "
    "buy little. Points joined only as a guide to the eye."
)
ACCURACY = "Marks: median over the starts that reached it, with the 95 % bootstrap interval; not joined."


def inputs(found: Sequence[Pair], *, note: bool = True) -> Figure:
    """Images/s with images that were read in percent of those with synthetic ones, a row for each point."""
    figure = blank(0.3 * len(found) + 0.8 + LINE, note=note)
    axes = figure.add_subplot()
    settings = [(pair.read.recipe, pair.read.engine, f"{pair.read.mode} scaling", pair.read.input) for pair in found]
    differ = [at for at in range(4) if len({words[at] for words in settings}) > 1]
    recipes = list(dict.fromkeys(pair.read.recipe for pair in found))
    for row, pair in enumerate(found):
        low, high = pair.interval or (pair.ratio, pair.ratio)
        samples = pair.read.images_per_s.samples if pair.interval else [pair.ratio]
        shown = Interval(median=100.0 * pair.ratio, low=100.0 * low, high=100.0 * high, samples=samples)
        at = recipes.index(pair.read.recipe)
        _across(axes, shown, row, LIGHT.cycle[at % len(LIGHT.cycle)], MARKERS[at % len(MARKERS)])
    axes.axvline(100.0, color=LIGHT.ink, linestyle=DASHES, linewidth=1.0, alpha=0.7, zorder=1)
    labels = [
        ", ".join([*(words[at] for at in differ), str(pair.read.ranks)])
        for words, pair in zip(settings, found, strict=True)
    ]
    style(axes, "% of the images/s with synthetic images", "series, ranks" if differ else "ranks")
    axes.set_yticks(range(len(found)), [fitted(label, 44) for label in labels], parse_math=False)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(0.0, max(115.0, axes.get_xlim()[1]))
    key(figure, [], INPUTS if note else "")
    return figure


def costs(series: Sequence[Series], work: Work, *, note: bool = True) -> Figure:
    """Hours of all devices against time, of an epoch or a million images."""
    names = variant_names(series)
    recipes = list(dict.fromkeys(one.recipe for one in series))
    look = looks(names)
    figure = blank(PANEL * len(recipes) + LINE * (len(names) + 1), note=note)
    panels = figure.subplots(len(recipes), 1, squeeze=False)[:, 0]
    device = device_name([m for one in series for m in one.points])
    for axes, recipe in zip(panels, recipes, strict=True):
        own = [one for one in series if one.recipe == recipe]
        longest = max(work.hours(m) for one in own for m in one.points)
        unit, scale = (
            ("hours", 1.0) if longest >= 2.0 else ("minutes", 60.0) if longest >= 1 / 30 else ("seconds", 3600.0)
        )
        x_most = 1.12 * scale * longest
        y_most = 1.15 * max(work.device_hours(m) for one in own for m in one.points)
        for at, one in enumerate(own):
            colour, marker = look[one.variant]
            x = [scale * work.hours(m) for m in one.points]
            y = [work.device_hours(m) for m in one.points]
            joined = len({m.ranks for m in one.points}) == len(one.points)  # else some differ in nodes, not in ranks
            axes.plot(x, y, color=colour, marker=marker, markersize=5.5, linewidth=0.8 if joined else 0.0)
            aside = ((5, 5), (-11, -12), (5, -12), (-11, 5))[at % 4]
            for m, *place in zip(one.points, x, y, strict=True):
                axes.annotate(str(m.ranks), place, aside, textcoords="offset points", fontsize=9, color=colour)
        style(axes, f"{unit} for {work.words}", f"{device}-hours for {work.words}")
        axes.set_xlim(0.0, x_most)
        axes.set_ylim(0.0, y_most)
        if len(recipes) > 1:
            axes.set_title(fitted(recipe, 48), fontsize=10, color=LIGHT.ink, loc="left", parse_math=False)
    handles = [
        Line2D([], [], color=look[variant][0], marker=look[variant][1], linewidth=0.8, label=fitted(name))
        for variant, name in names.items()
    ]
    key(figure, handles, COSTS if note else "")
    return figure


def accuracy(found: Sequence[ToAccuracy], *, note: bool = True) -> Figure:
    """Minutes to a test accuracy, a row for each point that reached it."""
    reached = [each for each in found if each.seconds]
    figure = blank(0.42 * len(reached) + 0.9 + LINE, note=note)
    axes = figure.add_subplot()
    labels = []
    for row, each in enumerate(reached):
        if each.seconds:
            at = list(dict.fromkeys(other.recipe for other in reached)).index(each.recipe)
            minutes = [value / 60.0 for value in (each.seconds.median, each.seconds.low, each.seconds.high)]
            shown = Interval(median=minutes[0], low=minutes[1], high=minutes[2], samples=each.seconds.samples)
            _across(axes, shown, row, LIGHT.cycle[at % len(LIGHT.cycle)], MARKERS[at % len(MARKERS)])
        ranks = f"{each.ranks} ranks" if each.ranks > 1 else "1 rank"
        labels.append(f"{each.recipe}, {each.engine}, {ranks}, batch {each.global_batch}: {100 * each.target:g} %")
    style(axes, "minutes to the test accuracy", "")
    axes.set_yticks(range(len(labels)), [fitted(label, 30) for label in labels], parse_math=False)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(left=0.0)
    key(figure, [], ACCURACY if note else "")
    return figure


def forecast(found: Outlook, *, note: bool = True) -> Figure:
    """Images/s that were measured and what more ranks would give, with the band of the forecast."""
    figure = blank(PANEL + 3 * LINE, note=note)
    axes = figure.add_subplot()
    counts = [each.ranks for each in found.forecasts]
    beyond = [each for each in found.forecasts if each.ranks >= found.most]
    x = [each.ranks for each in beyond]
    axes.fill_between(
        x, [f.low for f in beyond], [f.high for f in beyond], color=LIGHT.cycle[0], alpha=0.2, linewidth=0
    )
    axes.plot(counts, [each.median for each in found.forecasts], color=LIGHT.cycle[0], linewidth=1.2)
    base = found.used[0]
    ideal = [base.images_per_s.median * count / base.ranks for count in (counts[0], counts[-1])]
    axes.plot([counts[0], counts[-1]], ideal, color=LIGHT.ink, linestyle=DASHES, linewidth=1.0)
    for m in found.used:
        rate = m.images_per_s
        ends = [[max(rate.median - rate.low, 0.0)], [max(rate.high - rate.median, 0.0)]]
        axes.errorbar(
            [m.ranks], [rate.median], yerr=ends if len(rate.samples) > 1 else None, color=LIGHT.cycle[1], marker="o",
            markersize=5.5, capsize=3.5, zorder=4,
        )  # fmt: skip
    style(axes, "ranks", "images/s")
    wide = counts[-1] / counts[0] >= WIDE
    if wide:
        axes.set_xscale("log", base=2)
    from_zero(axes, wide=wide)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    handles: list[Artist] = [
        Line2D([], [], color=LIGHT.cycle[1], marker="o", linestyle="none", label="measured"),
        Line2D([], [], color=LIGHT.cycle[0], linewidth=1.2, label="forecast: the median of a model of a step"),
        Patch(facecolor=LIGHT.cycle[0], alpha=0.2, label="its 95 % band, beyond what was measured"),
        Line2D([], [], color=LIGHT.ink, linestyle=DASHES, linewidth=1.0, label="ideal: the base rate in proportion"),
    ]
    key(figure, handles, found.series.setting if note else "")
    return figure


def _across(axes: Axes, value: Interval, row: float, colour: str, marker: str) -> None:
    ends = [[max(value.median - value.low, 0.0)], [max(value.high - value.median, 0.0)]]
    bars = ends if len(value.samples) > 1 else None
    axes.errorbar([value.median], [row], xerr=bars, color=colour, marker=marker, markersize=5.5, capsize=3.5)
