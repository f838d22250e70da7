"""Measurements as results.csv, in full."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict

from hpcdl.analysis.scaling import imbalance, oversubscribed
from hpcdl.analysis.stats import harmonic_mean
from hpcdl.records import Measurement
from hpcdl.report.series import Series
from hpcdl.report.used import used
from hpcdl.report.work import MILLION, Work, devices


def csv_text(series: Sequence[Series]) -> str:
    """results.csv: a row a measurement, seconds and ratios unrounded; `ranks,images_per_s` come first."""
    rows = [_csv_row(m) for one in series for m in one.points]
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _csv_row(m: Measurement) -> dict[str, object]:
    rate, s = m.images_per_s, m.step_seconds
    return {
        "ranks": m.ranks,
        "images_per_s": rate.median,
        "images_per_s_low": rate.low,
        "images_per_s_high": rate.high,
        "images_per_s_harmonic_mean": harmonic_mean(rate.samples),
        "repetitions": len(rate.samples),
        "speedup": m.speedup,
        "speedup_low": m.speedup_interval[0],
        "speedup_high": m.speedup_interval[1],
        "efficiency": m.efficiency,
        "efficiency_low": m.efficiency_interval[0],
        "efficiency_high": m.efficiency_interval[1],
        "base_ranks": m.base_ranks,
        "engine": m.engine,
        "mode": m.mode,
        "recipe": m.recipe,
        "input": m.input,
        "nodes": m.nodes,
        "threads": m.threads,
        "cores": m.cores,
        "oversubscribed": oversubscribed(m),
        "global_batch": m.global_batch,
        "micro_batch": m.micro_batch,
        "step_s": s.median,
        "step_p95_s": s.p95,
        "compute_s": s.compute,
        "input_wait_s": s.input,
        "communication_s": s.communication,
        "communication_share": m.communication_share,
        "slowest_over_median_rank": imbalance(m),
        "other_s": s.other,
        "devices": devices(m),
        "device_hours_per_million_images": Work(MILLION, "").device_hours(m),
        "allreduce_bytes": m.allreduce_bytes,
        **asdict(used(m)),
    }
