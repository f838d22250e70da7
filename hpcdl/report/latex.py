"""The report's tables for LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from hpcdl.report import tables
from hpcdl.report.tables import Table

HEAD = r"""% Tables of `hpcdl report`. In the preamble: \usepackage{booktabs,graphicx}, and \usepackage[T1]{fontenc}.
% Figures: \includegraphics{throughput} and so on, from the PNG files beside this one.
"""
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",
    "]": "{]}",
    "µ": r"$\mu$",
}

TITLE = 8
"""Letters of a title's line."""


def latex(found: Sequence[Table]) -> str:
    """report.tex: each table as a float that \\input takes."""
    return HEAD + "\n".join(_table(tables.condensed(table)) for table in found)


def escape(words: str) -> str:
    """Words that LaTeX prints as they are, on one line."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(words.split()))


def _heading(words: str, side: str) -> str:
    """A column's title over several lines, so that it is hardly wider than what stands below; side: l or r."""
    lines = r"\\".join(escape(line) for line in wrap(words, TITLE, break_long_words=False, break_on_hyphens=False))
    return rf"\shortstack[{side}]{{{lines}}}" if r"\\" in lines else lines


def _table(table: Table) -> str:
    columns = "l" * table.words + "r" * (len(table.header) - table.words)
    shared = f" All rows: {table.shared}." if table.shared else ""
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape(table.caption + '.' + shared)}}}",
        rf"\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        rf"{' & '.join(map(_heading, table.header, columns))} \\",
        r"\midrule",
        *(rf"{' & '.join(map(escape, row))} \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
