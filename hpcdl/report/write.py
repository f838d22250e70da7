"""Writes a report: the one place here that does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hpcdl.errors import ConfigError
from hpcdl.records import Results, write_bytes
from hpcdl.report import bandwidth, canvas
from hpcdl.report.content import Content, content
from hpcdl.report.csvfile import csv_text
from hpcdl.report.gallery import gallery
from hpcdl.report.latex import latex
from hpcdl.report.markdown import markdown
from hpcdl.report.mllog import mllog
from hpcdl.report.page import html
from hpcdl.report.read import RECORDS, read


def write_report(folders: Sequence[Path], out: Path) -> list[Path]:
    """Writes report.html, each figure as PNG and SVG, results.csv, results.schema.json, report.md, report.tex,
    mlperf.log and results.json to `out`.

    Folders of `hpcdl bench allreduce` alone get bandwidth.png, bandwidth.svg and results.csv, one at a time.

    Everything is read, checked and drawn before the first file is written, and each file is written whole
    or not at all; a missing `out` is created once the records are known to be good. Where `out` is one of
    the folders, its results.json stays as it is.

    Returns:
        The paths.

    Raises:
        RecordError: a folder without usable records.
        ConfigError: no folder, or an `out` that cannot be written or whose own records would be replaced.
    """
    found = read(folders)
    sources, sums = found.sources, found.sums
    if not sources:
        if len(sums) > 1:
            told = f"{len(sums)} allreduce benchmarks, and no scaling study"
            raise ConfigError(told, "one of them, or a study beside them", f"hpcdl report {sums[0][0]}")
        return write_files(bandwidth.files(sums[0][1]), out)
    own = any(_same(folder, out) for folder in [source.folder for source in sources] + [folder for folder, _ in sums])
    if own and len(sources) + len(sums) > 1:
        raise ConfigError(
            f"--out {out}, which is one of the {len(sources) + len(sums)} folders",
            "a folder of its own for a report on several benchmarks, since it gets a results.json",
            "name another folder with --out",
        )
    named = [str(folder) for folder in [*(source.folder for source in sources), *(folder for folder, _ in sums)]]
    shown = content(sources, [results for _, results in sums], ["hpcdl", "report", *named, "--out", str(out)], out)
    files = _files(shown)
    if not own:
        files[RECORDS] = f"{shown.results.model_dump_json(by_alias=True, indent=1)}\n".encode()
    written = write_files(files, out)
    return list(dict.fromkeys([*written, out / RECORDS]))


def schema() -> str:
    """JSON schema of results.json."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | Results.model_json_schema(by_alias=True), indent=1) + "\n"


def _files(shown: Content) -> dict[str, bytes]:
    files = {"report.html": html(shown).encode()}
    for picture in gallery(shown):
        if picture.draw:
            drawn = picture.draw()
            files[f"{picture.file}.png"] = canvas.png(drawn)
            files[f"{picture.file}.svg"] = canvas.svg(drawn)
    return files | {
        "results.csv": csv_text(shown.series).encode(),
        "results.schema.json": schema().encode(),
        "report.md": markdown(shown).encode(),
        "report.tex": latex(shown.tables()).encode(),
        "mlperf.log": mllog(shown.results, shown.work).encode(),
    }


def write_files(files: dict[str, bytes], out: Path) -> list[Path]:
    """Writes files by name to a folder, which is made; each whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_bytes(out / name, text)
    except OSError as error:
        raise ConfigError(
            f"{out}: {error.strerror or error}", "a folder that can be written", "name another folder with --out"
        ) from None
    return [out / name for name in files]


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()
