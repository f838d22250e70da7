"""The report's tables for LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

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


def latex(found: Sequence[Table]) -> str:
    """report.tex: each table as a float that \\input takes."""
    return HEAD + "\n".join(_table(tables.condensed(table)) for table in found)


def escape(words: str) -> str:
    """Words that LaTeX prints as they are, on one line."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(words.split()))


def _table(table: Table) -> str:
    columns = "l" * table.words + "r" * (len(table.header) - table.words)
    shared = f" All rows: {table.shared}." if table.shared else ""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.caption + '.' + shared)}}}",
        rf"\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        rf"{' & '.join(map(escape, table.header))} \\",
        r"\midrule",
        *(rf"{' & '.join(map(escape, row))} \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
