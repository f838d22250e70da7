"""A comparison in words and figures, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from hpcdl.report import text
from hpcdl.report.compare import Change, Comparison, name
from hpcdl.report.markdown import escape

HEADER = ["point", "before", "after", "ratio", "verdict"]
RULE = (
    "A verdict stands only where the 95 % bootstrap intervals of the two medians part; the ratio's interval "
    "resamples both."
)


def lines(found: Comparison, names: tuple[str, str], limit: float | None) -> Iterator[str]:
    """The lines for a terminal."""
    yield f"images/s of {names[1]} (after) against {names[0]} (before)"
    rows = [HEADER, *(_row(change) for change in found.changes)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADER))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield from _rest(found, names, limit)


def markdown(found: Comparison, names: tuple[str, str], limit: float | None) -> str:
    """compare.md."""
    told = [f"# Images/s of {escape(names[1])} (after) against {escape(names[0])} (before)", ""]
    rows = [HEADER, ["---", "---:", "---:", "---:", "---"], *(map(escape, _row(change)) for change in found.changes)]
    told += [f"| {' | '.join(row)} |" for row in rows]
    told += ["", *(f"- {escape(line)}" for line in _rest(found, names, limit)), f"- {RULE}"]
    return "\n".join(told) + "\n"


def _row(change: Change) -> list[str]:
    ends = change.interval
    spread = f" {text.bracket(*(f'{end:.3f}' for end in ends))}" if ends else ""
    rates = (text.rate(change.before.images_per_s), text.rate(change.after.images_per_s))
    return [name(change.before), *rates, f"{change.ratio:.3f}{spread}", change.verdict]


def _rest(found: Comparison, names: tuple[str, str], limit: float | None) -> Iterator[str]:
    for where, alone in zip(names, (found.before_only, found.after_only), strict=True):
        yield from (f"only in {where}: {name(m)}" for m in alone)
    yield from found.notes
    if limit is None:
        return
    fallen = found.regressions(limit)
    for change in fallen:
        yield f"regression: {name(change.before)} fell by {text.percent(1.0 - change.ratio)}"
    if not fallen:
        yield f"no point fell by more than {100.0 * limit:g} % beyond noise"
