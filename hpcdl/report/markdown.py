"""The report in Markdown, for a repository or an issue."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from hpcdl.report import page, tables, text
from hpcdl.report.merge import Source
from hpcdl.report.series import Series
from hpcdl.report.summary import summary

_SPECIAL = re.compile(r"[\\`*|~#]|(?<!\w)_|_(?!\w)|\](?=[(\[:])")


def markdown(series: Sequence[Series], sources: Sequence[Source]) -> str:
    """report.md: the summary, the figures by name, the tables and how to repeat it."""
    points = [m for one in series for m in one.points]
    several = len(sources) > 1
    lines = [f"# {escape(page.title(series))}", ""]
    lines += [escape(sentence) for sentence in summary(series)]
    lines += ["", *(f"Images: {escape(note)}" for note in page.data_notes(sources)), ""]
    lines += ["![Throughput against ranks](throughput.png)", ""]
    if any(one.top.ranks > one.base.ranks for one in series):
        lines += ["![Parallel efficiency against ranks](efficiency.png)", ""]
    for table in (tables.rate_table(series), tables.step_table(series)):
        lines += [f"## {table.caption}", "", *_table(table), ""]
    for source in sources:
        named = f": {escape(source.name)}" if several else ""
        lines += [f"## To repeat it{named}", "", *_code(shlex.join(source.results.command)), ""]
        lines += [f"## Environment{named}", ""]
        lines += [f"- {escape(key)}: {escape(value)}" for key, value in text.flatten(source.results.environment)]
        lines += ["", f"## Recipe{named}", "", *_code("\n".join(text.overrides(source.results.config))), ""]
    lines += ["## How the figures were computed", "", *(f"- {escape(sentence)}" for sentence in page.method(points))]
    return "\n".join(lines) + "\n"


def escape(words: str) -> str:
    """Words that Markdown and HTML show as they are, on one line."""
    plain = " ".join(words.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", plain)


def _table(table: tables.Table) -> list[str]:
    rule = ["---" if at < table.words else "---:" for at in range(len(table.header))]
    rows = [table.header, rule, *([escape(cell) for cell in row] for row in table.rows)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _code(words: str) -> list[str]:
    # Indented, since no text can close such a block.
    return [f"    {line}" for line in words.splitlines()]
