"""Runs on every rank: OUT DATA WORK… does the work files one after the other, each with OUT/WORK as its folder."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

for work in sys.argv[3:]:
    (Path(sys.argv[1]) / work).mkdir(exist_ok=True)
    sys.argv[0] = str(Path(__file__).with_name(work))
    runpy.run_path(sys.argv[0], run_name="__main__")
