"""The figures of a report, in their order: what each shows, or why it is not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from matplotlib.figure import Figure

from hpcdl.report import bandwidth, figures, more_figures, steps_figure, text
from hpcdl.report.axes import caption
from hpcdl.report.content import Content
from hpcdl.report.outlook import Outlook

Draw: TypeAlias = Callable[..., Figure]


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        file: its name without ending.
        name: what it shows.
        caption: what its marks mean; or, where it is not drawn, why.
        draw: draws it; None where the records do not carry it. `note` puts the caption below it.
    """

    file: str
    name: str
    caption: str
    draw: Draw | None


def gallery(content: Content) -> list[Picture]:
    """All figures, those that the records do not carry among them."""
    series = content.series
    rates, ratios = (" ".join(caption(series, dots=dots)) for dots in (True, False))
    two = "it needs two rank counts of one series"
    scaled, uneven = figures.scaled(series), steps_figure.uneven(series)
    reached = any(each.seconds for each in content.results.accuracy)
    return [
        _picture("throughput", "Throughput against ranks", rates, partial(figures.throughput, series)),
        _picture("speedup", "Speedup against ranks", ratios, partial(figures.speedup, series), "" if scaled else two),
        _picture(
            "efficiency",
            "Parallel efficiency against ranks",
            ratios,
            partial(figures.efficiency, series),
            "" if scaled else two,
        ),
        _picture("steps", "Where a step's time goes", steps_figure.STEPS, partial(steps_figure.steps, series)),
        _picture(
            "imbalance",
            "Imbalance of the ranks",
            steps_figure.RANKS,
            partial(steps_figure.imbalance, series),
            "" if uneven else "it needs two ranks",
        ),
        _picture(
            "inputs",
            "Read against synthetic images",
            more_figures.INPUTS,
            partial(more_figures.inputs, content.pairs),
            "" if content.pairs else "it needs a point measured with synthetic images and with images that are read",
        ),
        _picture(
            "cost",
            f"What {content.work.words} costs against its time",
            more_figures.COSTS,
            partial(more_figures.costs, series, content.work),
        ),
        _picture(
            "accuracy",
            "Time to accuracy",
            more_figures.ACCURACY,
            partial(more_figures.accuracy, content.results.accuracy),
            "" if reached else _unreached(content),
        ),
        _forecast(content),
        _picture(
            "bandwidth",
            "Bandwidth of the allreduce alone",
            bandwidth.CAPTION,
            partial(bandwidth.figure, content.sums),
            "" if content.sums else "no folder of `hpcdl bench allreduce` is among the folders",
        ),
    ]


def _picture(file: str, name: str, caption: str, draw: Draw, missing: str = "") -> Picture:
    return Picture(file, name, missing or caption, None if missing else draw)


def _unreached(content: Content) -> str:
    return "no start reached it" if content.results.accuracy else "no training to an accuracy is in the records"


def _forecast(content: Content) -> Picture:
    found = content.outlook
    name = "What more ranks would give"
    if not isinstance(found, Outlook):
        return Picture("forecast", name, found, None)
    return Picture("forecast", name, forecast_words(found), partial(more_figures.forecast, found))


def forecast_words(found: Outlook) -> str:
    """What the forecast rests on."""
    counts = text.listing([str(m.ranks) for m in found.used])
    words = (
        f"{found.series.setting}: a model of a step, calibrated on {counts} ranks; the band holds what these leave "
        "open, the scatter of repetitions, and 5 % for each doubling beyond them. A forecast, not a measurement."
    )
    if len(found.used) < len(found.series.points):
        words += " Points with more compute threads than cores were left out."
    if found.waste_beyond is not None:
        words += f" Beyond {text.count(found.waste_beyond, 'rank')} a doubling adds less than half by this model."
    return words
