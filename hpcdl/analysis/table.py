"""A scaling table as plain CSV: `ranks,images_per_s`, more columns allowed, lines that begin with # left out."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from hpcdl.analysis.forecast import Point
from hpcdl.errors import RecordError

COLUMNS = ("ranks", "images_per_s")
FIX = "two columns, as `ranks,images_per_s` and below it `1,240`"


def read_table(path: Path) -> list[Point]:
    """The points of a table, by ascending ranks.

    Raises:
        RecordError: no such file, no text, a column is missing, or a line whose ranks are not a whole number above
            0, whose rate is not a number above 0, or whose ranks were there before.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise RecordError(f"no file {path}", "a table in CSV, or a folder that holds results.json", FIX) from None
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}", "a readable table in CSV", FIX) from None
    except UnicodeDecodeError:
        raise RecordError(f"{path}, which is not text", "a table in CSV", FIX) from None
    # Blank in their place, so that the numbers of the lines stay.
    rows = list(csv.reader("" if line.lstrip().startswith("#") else line for line in lines))
    numbered = [(number, [cell.strip() for cell in row]) for number, row in enumerate(rows, 1) if any(row)]
    header = numbered[0][1] if numbered else []
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise RecordError(f"{path} without the column {' and '.join(missing)}", "a header with both columns", FIX)
    points: dict[int, Point] = {}
    for number, row in numbered[1:]:
        place = f"{path} line {number}"
        cells = dict(zip(header, row, strict=False))
        ranks = _ranks(cells.get("ranks", ""), place)
        if ranks in points:
            raise RecordError(
                f"{place}: {ranks} ranks again",
                "each rank count once",
                "give the median of its repetitions, or only one series of the table",
            )
        points[ranks] = Point(ranks, _rate(cells.get("images_per_s", ""), place))
    return sorted(points.values(), key=lambda point: point.ranks)


def _ranks(text: str, place: str) -> int:
    value = _number(text, place, "ranks", "a whole number above 0")
    if value < 1.0 or value != int(value):
        raise RecordError(f"{place}: ranks {text}", "a whole number above 0", "correct the line")
    return int(value)


def _rate(text: str, place: str) -> float:
    value = _number(text, place, "images_per_s", "a number above 0")
    if value <= 0.0:
        raise RecordError(f"{place}: images_per_s {text}", "a number above 0", "correct the line, or leave it out")
    return value


def _number(text: str, place: str, column: str, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RecordError(f"{place}: {column} {text or 'empty'!r}", expected, "correct the line, or leave it out")
    return value
