"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hpcdl.allreduce import AllreduceResults
from hpcdl.analysis.scaling import oversubscribed
from hpcdl.records import Measurement, Results
from hpcdl.report import canvas, machines, more_tables, tables, text
from hpcdl.report.content import Content
from hpcdl.report.gallery import Picture, gallery
from hpcdl.report.merge import Source
from hpcdl.report.series import Series
from hpcdl.report.steps_figure import parts
from hpcdl.report.summary import summary
from hpcdl.report.theme import darkened
from hpcdl.report.used import absent


@dataclass(frozen=True)
class Bar:
    """One step as a bar: its parts in percent of the recipe's longest bar, and in words."""

    name: str
    parts: list[tuple[str, float]]
    words: str


def html(content: Content) -> str:
    """report.html: inline styles, figures embedded for light and dark, no resource from elsewhere."""
    environment = Environment(
        loader=PackageLoader("hpcdl.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["tight"] = tight
    rates, steps, *others = map(tables.condensed, content.tables())
    pictures = [each for each in gallery(content) if each.file != "steps"]
    return environment.get_template("report.html.j2").render(
        title=title(content.series),
        created=content.results.created,
        summary=summary(content.series),
        data=data_notes(content.sources),
        notes=machines.notes(content.sources),
        figures=[_drawn(each) for each in pictures if each.draw],
        missing=[each for each in pictures if each.draw is None],
        rates=rates,
        steps=steps,
        others=others,
        unmeasured=unmeasured(content),
        bars=bars(content.series),
        sources=[
            *(_source(source.name, source.results, source.results.config) for source in content.sources),
            *(_source("allreduce benchmark", results, {}) for results in content.sums),
        ],
        method=method(content.points),
    )


def unmeasured(content: Content) -> list[str]:
    """What the records do not tell, and why."""
    reasons = absent(content.points)
    told = {reason.split(":")[0].strip().lower() for reason in reasons}
    columns = more_tables.unmeasured(content.series)
    plain = [f"{name}: the records do not say why" for name in columns if not any(_covers(t, name) for t in told)]
    return reasons + plain


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
    """Each point's step, split into its parts, on one scale within a recipe."""
    points = [m for one in series for m in one.points]
    longest: dict[str, float] = {}
    for m in points:
        longest[m.recipe] = max(longest.get(m.recipe, 0.0), sum(seconds for _, seconds in parts(m)))
    return [
        Bar(
            name=f"{m.recipe}, {m.engine}, {m.mode}, {m.input}, {text.count(m.ranks, 'rank')}"
            + (" (oversubscribed)" if oversubscribed(m) else ""),
            parts=[(name, 100.0 * seconds / longest[m.recipe]) for name, seconds in parts(m)],
            words=", ".join(f"{name} {text.milliseconds(seconds)} ms" for name, seconds in parts(m)),
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
        "its share is the sum of it over the sum of all steps. Other is the update, and Python.",
        "Slowest / median rank compares the ranks' own time, the step without communication.",
        "The allreduce is the bytes that a rank hands over in a step, as they travel. CPU, memory, GPUs and energy are "
        "of the measured steps, of all nodes together, medians over the repetitions; energy is of all that ran there.",
        "Core-hours count the cores that compute threads take, GPU-hours the GPUs, one a rank.",
    ]
    if fewest == 1:
        sentences.append("A point with one repetition has no interval, and nothing can be told apart from chance.")
    elif fewest <= 5:
        sentences.append(
            f"With {fewest} repetitions the interval is their range, which holds the true median with a probability "
            f"of {100.0 * (1.0 - 2.0 ** (1 - fewest)):.0f} %, not 95 %."
        )
    return sentences


def _covers(reason: str, column: str) -> bool:
    """Whether a reason that begins with "energy" tells of the column "energy J", or of "images/J"."""
    first = column.split()[0].lower()
    return first == reason.split()[0] or (first == "images/j" and reason.startswith("energy"))


def tight(words: str) -> str:
    """The words with each number and its unit kept on one line."""
    for unit in ("%", "ms", "images/s"):
        words = words.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    return words


def _drawn(picture: Picture) -> dict[str, str]:
    if picture.draw is None:
        raise ValueError(picture.file)
    light = canvas.svg(picture.draw(note=False))
    shown = {"light": _embedded(light), "dark": _embedded(darkened(light))}
    return {"name": picture.name, "caption": picture.caption, **shown}


def _embedded(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"


def _source(name: str, results: Results | AllreduceResults, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "created": results.created,
        "command": shlex.join(results.command),
        "environment": text.flatten(results.environment),
        "config": "\n".join(text.overrides(config)),
    }


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
