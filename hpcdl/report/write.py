"""Reads benchmark folders and writes the report: the one place here that touches the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcdl.allreduce import is_allreduce
from hpcdl.analysis.scaling import imbalance
from hpcdl.analysis.stats import harmonic_mean
from hpcdl.errors import ConfigError, RecordError
from hpcdl.records import Measurement, Results, read_results, write_bytes
from hpcdl.report import bandwidth, figures
from hpcdl.report.markdown import markdown
from hpcdl.report.merge import Source, merge, refuse_twins
from hpcdl.report.page import html
from hpcdl.report.series import group
from hpcdl.report.tables import csv_text

RECORDS = "results.json"
_AGAIN = "measure again with `hpcdl bench scaling`"


def write_report(folders: Sequence[Path], out: Path) -> list[Path]:
    """Writes report.html, throughput.png, efficiency.png, results.csv, report.md and results.json to `out`.

    A folder of `hpcdl bench allreduce`, which stands alone, gets bandwidth.png and results.csv.

    Everything is read, checked and drawn before the first file is written, and each file is written whole
    or not at all; a missing `out` is created once the records are known to be good. Where `out` is the only
    folder, its results.json stays as it is.

    Returns:
        The paths.

    Raises:
        RecordError: a folder without usable records.
        ConfigError: no folder, or an `out` that cannot be written or whose own records would be replaced.
    """
    if sums := [folder for folder in folders if is_allreduce(folder / RECORDS)]:
        return _write_sums(sums, folders, out)
    sources = _sources(folders)
    own = any(_same(source.folder, out) for source in sources)
    if own and len(sources) > 1:
        raise ConfigError(
            f"--out {out}, which is one of the {len(sources)} folders",
            "a folder of its own for a report on several benchmarks, since it gets a results.json",
            "name another folder with --out",
        )
    command = ["hpcdl", "report", *(str(source.folder) for source in sources), "--out", str(out)]
    results = merge(sources, command, out)
    series = group(results.results)
    _make(out)
    files = {
        "report.html": html(results, series, sources).encode(),
        "throughput.png": figures.png(figures.throughput(series)),
        "efficiency.png": figures.png(figures.efficiency(series)),
        "results.csv": csv_text(series).encode(),
        "report.md": markdown(series, sources).encode(),
    }
    if not own:
        files[RECORDS] = f"{results.model_dump_json(by_alias=True, indent=1)}\n".encode()
    _write(files, out)
    return [out / name for name in dict.fromkeys([*files, RECORDS])]


def _write_sums(sums: Sequence[Path], folders: Sequence[Path], out: Path) -> list[Path]:
    """The report of an allreduce benchmark."""
    if len(folders) > 1:
        raise ConfigError(f"{sums[0]}, an allreduce benchmark, among others", "it alone", f"hpcdl report {sums[0]}")
    files = bandwidth.files(sums[0])
    _make(out)
    _write(files, out)
    return [out / name for name in files]


def _sources(folders: Sequence[Path]) -> list[Source]:
    if not folders:
        raise ConfigError("no folder", "one or more folders that hold results.json", "name them: hpcdl report DIR…")
    distinct = list({folder.resolve(): folder for folder in folders}.values())
    names = [folder.resolve().name for folder in distinct]
    return [
        Source(name if names.count(name) == 1 else str(folder), folder, _checked(folder))
        for name, folder in zip(names, distinct, strict=True)
    ]


def _checked(folder: Path) -> Results:
    records = folder / RECORDS
    if not folder.is_dir():
        raise RecordError(f"no folder {folder}", f"a folder that holds {RECORDS}", _AGAIN)
    if not records.exists() and (folder / "config.yaml").exists() and (folder / "events.jsonl").exists():
        raise RecordError(
            f"{folder}, which is a training run",
            f"a benchmark's folder, which holds {RECORDS}",
            "measure one with `hpcdl bench scaling`",
        )
    results = read_results(records)
    if not results.results:
        raise RecordError(f"{records} without a measurement", "at least one", _AGAIN)
    for m in results.results:
        _check(m, str(records))
    refuse_twins(results.results, str(records))
    return results


def _check(m: Measurement, where: str) -> None:
    """What a schema cannot say, and what no figure could show."""
    place = f"{where}: {m.recipe}, {m.engine}, {m.mode}, {m.ranks} ranks"
    try:
        harmonic_mean([*m.images_per_s.samples, m.images_per_s.median, m.images_per_s.low, m.images_per_s.high])
        harmonic_mean([m.speedup, m.efficiency, m.ranks, m.base_ranks, m.threads, m.cores, m.global_batch])
        harmonic_mean([m.step_seconds.median, m.step_seconds.p95])
        imbalance(m)
    except RecordError as error:
        raise RecordError(f"{place}: {error.received}", error.expected, error.fix) from None


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from None


def _write(files: dict[str, bytes], out: Path) -> None:
    try:
        for name, content in files.items():
            write_bytes(out / name, content)
    except OSError as error:
        raise _unwritable(out, error) from None


def _unwritable(out: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{out}: {error.strerror or error}", "a folder that can be written", "name another folder with --out"
    )


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()
