"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hpcdl.analysis.scaling import oversubscribed
from hpcdl.records import Measurement, Results
from hpcdl.report import figures, tables, text
from hpcdl.report.axes import caption
from hpcdl.report.merge import Source
from hpcdl.report.series import Series
from hpcdl.report.summary import summary
from hpcdl.report.theme import DARK, LIGHT


@dataclass(frozen=True)
class Bar:
    """One step as a bar: its parts in percent of the recipe's longest bar, and in words."""

    name: str
    parts: list[tuple[str, float]]
    words: str


def html(results: Results, series: Sequence[Series], sources: Sequence[Source]) -> str:
    """report.html: inline styles, figures embedded for light and dark, no resource from elsewhere."""
    environment = Environment(
        loader=PackageLoader("hpcdl.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["tight"] = tight
    return environment.get_template("report.html.j2").render(
        title=title(series),
        created=results.created,
        summary=summary(series),
        data=data_notes(sources),
        figures=_pictures(series),
        rates=tables.condensed(tables.rate_table(series)),
        steps=tables.condensed(tables.step_table(series)),
        bars=bars(series),
        sources=[_source(source) for source in sources],
        method=method([m for one in series for m in one.points]),
    )


def title(series: Sequence[Series]) -> str:
    """What was measured, in a line."""
    recipes = list(dict.fromkeys(one.recipe for one in series))
    named = text.listing(recipes) if len(recipes) <= 3 else f"{len(recipes)} recipes"
    ranks = sorted({m.ranks for one in series for m in one.points})
    many = f"{ranks[0]} to {ranks[-1]} ranks" if len(ranks) > 1 else text.count(ranks[0], "rank")
    return f"Scaling of {named}, {many}"


def data_notes(sources: Sequence[Source]) -> list[str]:
    """What the environments say about the images, each saying once, with its source where they differ."""
    said: dict[str, list[str]] = {}
    for source in sources:
        note = source.results.environment.get("data")
        if isinstance(note, str) and note:
            said.setdefault(note, []).append(source.name)
    everyone = len(said) == 1 and len(next(iter(said.values()))) == len(sources)
    return [note if everyone else f"{text.listing(names)}: {note}" for note, names in said.items()]


def bars(series: Sequence[Series]) -> list[Bar]:
    """Each point's step, split into compute, input wait and communication, on one scale within a recipe."""
    points = [m for one in series for m in one.points]
    longest: dict[str, float] = {}
    for m in points:
        longest[m.recipe] = max(longest.get(m.recipe, 0.0), sum(seconds for _, seconds in _parts(m)))
    return [
        Bar(
            name=f"{m.recipe}, {m.engine}, {m.mode}, {m.input}, {text.count(m.ranks, 'rank')}"
            + (" (oversubscribed)" if oversubscribed(m) else ""),
            parts=[(name, 100.0 * seconds / longest[m.recipe]) for name, seconds in _parts(m)],
            words=", ".join(f"{name} {text.milliseconds(seconds)} ms" for name, seconds in _parts(m)),
        )
        for m in points
    ]


def method(measurements: Sequence[Measurement]) -> list[str]:
    """How the figures were computed, in sentences."""
    runs = [repetition for m in measurements for repetition in m.repetitions]
    warmup = _span([run.warmup_steps for run in runs])
    steps = _span([run.steps for run in runs])
    fewest = min(len(m.images_per_s.samples) for m in measurements)
    sentences = [
        f"Each repetition starts all ranks anew, drops {warmup} warm-up steps and measures the next {steps}; "
        "its images/s are the images of all ranks over the measured seconds of the slowest rank.",
        "Images/s are the median of the repetitions with the percentile-bootstrap 95 % interval of the median "
        "(10,000 resamples, fixed seed; no distribution is assumed).",
        "Speedup is the ratio of two medians, this point's and the base's, and its interval resamples both; "
        "efficiency is speedup / (ranks / base ranks). The base is the fewest ranks of the same recipe, engine, "
        "mode and images.",
        "Weak scaling keeps the batch of a rank, strong scaling the batch of all ranks together.",
        "Milliseconds are medians over every measured step of every rank and repetition, so the parts need not "
        "add up to the step. Communication is what compute did not hide, and holds the wait for slower ranks; "
        "its share is the sum of it over the sum of all steps.",
        "Slowest / median rank compares the ranks' own time, the step without communication.",
    ]
    if fewest == 1:
        sentences.append("A point with one repetition has no interval, and nothing can be told apart from chance.")
    elif fewest <= 5:
        sentences.append(
            f"With {fewest} repetitions the interval is their range, which holds the true median with a probability "
            f"of {100.0 * (1.0 - 2.0 ** (1 - fewest)):.0f} %, not 95 %."
        )
    return sentences


def tight(words: str) -> str:
    """The words with each number and its unit kept on one line."""
    for unit in ("%", "ms", "images/s"):
        words = words.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    return words


def _pictures(series: Sequence[Series]) -> list[dict[str, str]]:
    rates = caption(series, dots=True)
    ratios = caption(series, dots=False)
    pictures = [_picture("Throughput against ranks", " ".join(rates), figures.throughput, series)]
    if any(one.top.ranks > one.base.ranks for one in series):
        pictures.append(_picture("Parallel efficiency against ranks", " ".join(ratios), figures.efficiency, series))
    return pictures


def _picture(name: str, words: str, draw: figures.Draw, series: Sequence[Series]) -> dict[str, str]:
    light, dark = (_embedded(figures.svg(draw(series, theme=theme, note=False))) for theme in (LIGHT, DARK))
    return {"name": name, "caption": words, "light": light, "dark": dark}


def _embedded(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"


def _source(source: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "created": source.results.created,
        "command": shlex.join(source.results.command),
        "environment": text.flatten(source.results.environment),
        "config": "\n".join(text.overrides(source.results.config)),
    }


def _parts(m: Measurement) -> list[tuple[str, float]]:
    s = m.step_seconds
    return [
        (name, max(seconds, 0.0))
        for name, seconds in (("compute", s.compute), ("input wait", s.input), ("communication", s.communication))
    ]


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
