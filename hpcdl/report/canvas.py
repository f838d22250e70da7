"""An empty figure of the report's size, and a figure as PNG or SVG.

Matplotlib's object API only: no pyplot, so no global state and no display.
"""

from __future__ import annotations

import io

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hpcdl.report.theme import LIGHT

WIDTH = 5.8
"""Inches: the text width of an A4 page with wide margins."""
SCREEN_WIDTH = 5.0
"""Inches: a little less, so that letters stay readable where a page shrinks the figure to a phone."""
PANEL = 3.3
LINE = 0.22
"""Inches: a line of the key."""
DPI = 200


def blank(height: float, *, note: bool) -> Figure:
    """An empty figure; with `note`, for one that is shown on its own, there is room for what the marks mean."""
    size = (WIDTH if note else SCREEN_WIDTH, height + 3 * LINE * note)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    figure.set_facecolor(LIGHT.paper)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG, at print resolution."""
    file = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(file, format="png")
    return file.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as SVG with its letters as outlines, the same bytes for the same figure."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "hpcdl", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
