"""What a benchmark's own records tell the forecast: points with their scatter and shares, and what is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from hpcdl.allreduce import MEMORY, AllreduceResults
from hpcdl.analysis.forecast import Point
from hpcdl.analysis.links import Link
from hpcdl.analysis.network import Cost
from hpcdl.analysis.stepmodel import Setting
from hpcdl.errors import ConfigError, RecordError
from hpcdl.records import Measurement

OVERLAPS = {"horovod"}
"""Engines that reduce while the backward pass goes on."""


def one_series(measurements: Sequence[Measurement], **wanted: str | None) -> list[Measurement]:
    """The measurements of one engine, mode, recipe and input, by ascending ranks.

    Args:
        measurements: of a benchmark.
        wanted: engine, mode, recipe, input; None for whichever there is.

    Raises:
        ConfigError: nothing is left, or several series are.
        RecordError: a rank count is there twice, on other numbers of nodes.
    """
    left = [m for m in measurements if all(value in (None, getattr(m, key)) for key, value in wanted.items())]
    series = dict.fromkeys((m.engine, m.mode, m.recipe, m.input) for m in left)
    if len(series) != 1:
        there = dict.fromkeys((m.engine, m.mode, m.recipe, m.input) for m in measurements)
        raise ConfigError(
            f"{len(series) or 'no'} series: {'; '.join(', '.join(each) for each in series or there)}",
            "one engine, mode, recipe and input",
            "choose with --engine, --mode, --recipe and --input",
        )
    found = sorted(left, key=lambda m: m.ranks)
    twice = [m.ranks for m, after in pairwise(found) if m.ranks == after.ranks]
    if twice:
        raise RecordError(
            f"{twice[0]} ranks twice, on other numbers of nodes", "each rank count once", "forecast from a CSV table"
        )
    return found


def points_of(series: Sequence[Measurement]) -> list[Point]:
    """Rates with the standard error of their medians, and the measured share of communication.

    The share is left out where there is one rank, which talks to nobody.
    """
    return [
        Point(
            m.ranks,
            m.images_per_s.median,
            # A 95 % interval is four standard errors wide, near enough for three repetitions.
            error=(m.images_per_s.high - m.images_per_s.low) / 4.0 / m.images_per_s.median,
            communication=m.communication_share if m.ranks > 1 else None,
        )
        for m in series
    ]


def setting_of(series: Sequence[Measurement], config: Mapping[str, Any], ranks_per_node: int | None) -> Setting:
    """What the records know of the machine and the work.

    Args:
        series: one series.
        config: the recipe that it varied.
        ranks_per_node: of the forecast; None for the most that were measured on a node.
    """
    top = series[-1]
    engine = config.get("engine", {})
    return Setting(
        ranks_per_node=ranks_per_node or max(math.ceil(m.ranks / m.nodes) for m in series),
        batch=None if top.mode == "strong" else top.global_batch / top.ranks,
        global_batch=float(top.global_batch) if top.mode == "strong" else None,
        bucket_bytes=float(engine.get("bucket_mb", 25.0)) * 2**20,
        overlap=top.engine in OVERLAPS,
        input_rate=math.inf if top.input == "synthetic" else None,
        rank_spread=_spread(top),
        carried=1.0 if engine.get("compression", "none") == "none" else 0.5,
    )


def link_of(results: AllreduceResults, text: str, option: str, engine: str | None) -> Link:
    """The link that an allreduce benchmark's fit of uncompressed values on the most ranks tells.

    An alpha that does not part from 0 counts as 0: the sizes that were measured do not tell it.

    Args:
        results: of `hpcdl bench allreduce`.
        text: what was given, which names the link.
        option: --network, for which ranks on several nodes are needed, or --inside, for which they share one.
        engine: whose sums are meant; None, or one that was not measured, for those with the least seconds a byte.

    Raises:
        RecordError: no such fit, or none that carries a beta.
    """
    several = option == "--network"
    there = [fit for fit in results.fits if fit.engine != MEMORY and fit.compression == "none"]
    fits = [fit for fit in there if (fit.nodes > 1) == several and fit.beta.resolved]
    if not fits:
        told = "; ".join(f"{fit.engine} on {fit.ranks} ranks of {fit.nodes} nodes" for fit in there)
        raise RecordError(
            f"{option} {text} with {told or 'no fits'}",
            f"a fit on {'several nodes' if several else 'one node'} whose seconds a byte part from 0",
            "measure it with `hpcdl bench allreduce`" + (" --hosts" if several else ""),
        )
    most = [fit for fit in fits if fit.ranks == max(each.ranks for each in fits)]
    fit = min(most, key=lambda each: (each.engine != engine, each.beta.value))
    cost = Cost(fit.alpha.value if fit.alpha.resolved else 0.0, fit.beta.value)
    return Link(f"{text} ({fit.engine}, {fit.ranks} ranks)", cost, "hpcdl bench allreduce", given=True)


def _spread(measurement: Measurement) -> float | None:
    """Half of the range of the middle two thirds of a rank's own steps, over their median; the median rank's."""
    found = []
    for repetition in measurement.repetitions:
        for timing in repetition.ranks:
            own = np.array(timing.step) - np.array(timing.communication)
            if len(own) >= 5 and np.median(own) > 0.0:
                low, high = np.percentile(own, [16.0, 84.0])
                found.append(0.5 * float(high - low) / float(np.median(own)))
    return float(np.median(found)) if found else None
