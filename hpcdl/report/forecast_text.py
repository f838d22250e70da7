"""A forecast in words and figures, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hpcdl.analysis.forecast import Calibrated
from hpcdl.report import text

WORTH = 1.01
"""A change that gains less is not worth telling."""
LAWS = {"amdahl": "Amdahl", "gustafson": "Gustafson", "usl": "USL"}


def lines(calibrated: Calibrated, answer: dict[str, Any]) -> Iterator[str]:
    """The lines.

    Args:
        calibrated: the model with the points that it was calibrated on.
        answer: what the command answers as JSON.
    """
    yield from _basis(calibrated)
    yield ""
    yield from _table(answer)
    yield ""
    yield from _advice(calibrated, answer)


def _basis(calibrated: Calibrated) -> Iterator[str]:
    setting, points = calibrated.setting, calibrated.points
    yield f"measured: {', '.join(f'{text.number(point.rate)} images/s on {point.ranks}' for point in points)}"
    if setting.ranks_per_node == 1:
        yield "nodes: every rank counts as a node of its own; --ranks-per-node tells where nodes end"
    else:
        yield f"nodes: {text.count(setting.ranks_per_node, 'rank')} each"
    for name, link in (("inside a node", setting.inside), ("between nodes", setting.between)):
        if link is not None:
            yield f"{name}: {link.name}, {1e-9 / link.cost.beta:.3g} GB/s, {1e6 * link.cost.alpha:.3g} µs a message"
    untold = [
        name
        for name, known in (
            ("--network", setting.between is not None),
            ("--bytes", setting.bytes is not None),
            ("--batch", setting.timed),
        )
        if not known
    ]
    if untold:
        yield f"communication: from the points alone and wide priors, for {text.listing(untold)} is not told"
    else:
        size, buckets = text.number((setting.bytes or 0.0) / 1e6), text.count(round(setting.buckets), "bucket")
        yield f"communication: {size} MB a step in {buckets}"
    repeated = any(point.error for point in points)
    yield (
        "intervals (95 %): what the points leave open of the model"
        + (", the scatter of repetitions" if repeated else "")
        + ", and 5 % for each doubling beyond the most ranks measured"
    )


def _table(answer: dict[str, Any]) -> Iterator[str]:
    first = answer["forecast"][0]
    header = ["ranks", "images/s", "95 % interval", "efficiency"]
    header += ["an epoch"] * ("epoch_seconds" in first) + ["training"] * bool(first.get("training_seconds"))
    header += ["simulated"] * ("simulated_images_per_s" in first)
    header += [LAWS[name] for name in first.get("laws", {})] + [""]
    rows = [header, *(_row(each) for each in answer["forecast"])]
    widths = [max(len(row[at]) for row in rows) for at in range(len(header))]
    for row in rows:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(each: dict[str, Any]) -> list[str]:
    rate = each["images_per_s"]
    row = [f"{each['ranks']:,}", text.number(rate["median"])]
    row += [text.bracket(text.number(rate["low"]), text.number(rate["high"])), f"{100.0 * each['efficiency']:.1f} %"]
    row += [text.duration(each[name]) for name in ("epoch_seconds", "training_seconds") if each.get(name)]
    if "simulated_images_per_s" in each:
        row.append(text.number(each["simulated_images_per_s"]))
    row += ["-" if rate is None else text.number(rate) for rate in each.get("laws", {}).values()]
    beyond = each["beyond_measured"]
    return [*row, f"{beyond:.3g} times the most ranks measured" if beyond > 1.0 else "within what was measured"]


def _advice(calibrated: Calibrated, answer: dict[str, Any]) -> Iterator[str]:
    where = text.count(answer["at"], "rank")
    limit = answer["limit"]
    yield f"what limits at {where}: {limit['name']}, {text.percent(limit['share'])} of a step"
    worth = [change for change in answer["changes"] if change["gain"]["median"] >= WORTH]
    if not worth:
        yield f"what to change first at {where}: nothing that was tried gains 1 %"
    for number, change in enumerate(worth, 1):
        gain = change["gain"]
        interval = text.bracket(*(f"{gain[end]:.2f}" for end in ("low", "high")))
        yield f"change {number} at {where}: {change['name']}, {gain['median']:.2f} times the images/s {interval}"
    beyond = answer["waste_beyond"]
    if beyond is None:
        yield f"more is waste (a doubling adds less than half): not up to {answer['waste_looked_for_up_to']:,} ranks"
    else:
        yield f"more is waste (a doubling adds less than half): beyond {text.count(beyond, 'rank')}"
    if calibrated.setting.global_batch is None:
        yield "the batch a rank stays, so the global batch grows with the ranks; more epochs may then be needed"
