"""The report in Markdown, for a repository or an issue."""

from __future__ import annotations

import re
import shlex

from hpcdl.report import machines, page, tables, text
from hpcdl.report.content import Content
from hpcdl.report.gallery import Picture, gallery
from hpcdl.report.summary import summary

_SPECIAL = re.compile(r"[\\`*|~#]|(?<!\w)_|_(?!\w)|\](?=[(\[:])")


def markdown(content: Content) -> str:
    """report.md: the summary, the figures by name, the tables and how to repeat it."""
    sources, several = content.sources, len(content.sources) > 1
    lines = [f"# {escape(page.title(content.series))}", ""]
    lines += [escape(sentence) for sentence in summary(content.series)]
    notes = [f"Images: {note}" for note in page.data_notes(sources)] + machines.notes(sources)
    lines += ["", *(line for note in notes for line in (escape(note), ""))]
    for picture in gallery(content):
        words = f"{picture.caption}." if picture.draw is None else ""
        lines += [f"{picture.name}: not shown, for {escape(words)}" if words else _image(picture), ""]
    for table in content.tables():
        lines += [f"## {escape(table.caption)}", "", *_table(table), ""]
    lines += [f"- Not measured: {escape(words)}" for words in page.unmeasured(content)] + [""]
    for source in sources:
        named = f": {escape(source.name)}" if several else ""
        lines += [f"## To repeat it{named}", "", *_code(shlex.join(source.results.command)), ""]
        lines += [f"## Environment{named}", ""]
        lines += [f"- {escape(key)}: {escape(value)}" for key, value in text.flatten(source.results.environment)]
        lines += ["", f"## Recipe{named}", "", *_code("\n".join(text.overrides(source.results.config))), ""]
    for results in content.sums:
        lines += ["## To repeat it: allreduce", "", *_code(shlex.join(results.command)), ""]
    lines += ["## How the figures were computed", "", *(f"- {escape(words)}" for words in page.method(content.points))]
    return "\n".join(lines) + "\n"


def escape(words: str) -> str:
    """Words that Markdown and HTML show as they are, on one line."""
    plain = " ".join(words.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", plain)


def _image(picture: Picture) -> str:
    return f"![{picture.name}]({picture.file}.png)"


def _table(table: tables.Table) -> list[str]:
    rule = ["---" if at < table.words else "---:" for at in range(len(table.header))]
    rows = [table.header, rule, *([escape(cell) for cell in row] for row in table.rows)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _code(words: str) -> list[str]:
    # Indented, since no text can close such a block.
    return [f"    {line}" for line in words.splitlines()]
