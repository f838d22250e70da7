"""hpcdl data prepare and verify: shards of images, and whether a set is whole."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from hpcdl.cli.options import Json
from hpcdl.errors import ConfigError

if TYPE_CHECKING:
    from hpcdl.data.shards.prepare import Outcome
    from hpcdl.data.shards.verify import Report
    from hpcdl.data.shards.workers import Counts

LINE_SECONDS = 10.0

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default one a usable core.")]


def prepare(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A name from `hpcdl data list`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder that gets the shards.")],
    data: Annotated[
        str | None, typer.Option("--data", help="Folder or archive of the source; else HPCDL_DATA, ./data.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="The first so many classes, or those of these names: 10, or a,b,c.")
    ] = None,
    per_class: Annotated[
        int | None, typer.Option("--per-class", min=1, help="At most so many training images a class.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=1, help="Shrink images whose short side is longer to this; none is enlarged."),
    ] = None,
    store: Annotated[
        str,
        typer.Option(
            "--store", help="jpeg, pixels (uint8), or auto: jpeg for image files, pixels for sets that are pixels."
        ),
    ] = "auto",
    quality: Annotated[
        int, typer.Option("--quality", min=1, max=100, help="Of images that are encoded anew as JPEG.")
    ] = 95,
    shard_mb: Annotated[float, typer.Option("--shard-mb", help="MiB a shard, about.")] = 128,
    workers: Workers = None,
    bad: Annotated[
        str, typer.Option("--bad", help="refuse a set with damaged images, or skip them and list them in the manifest.")
    ] = "refuse",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the order of the training images.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the shards that an earlier call left in --out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a set's images to a few large files: shards in TFRecord format, with an index and checksums.

    Grey and RGB JPEG files that need not shrink are stored as they are; others become RGB. EXIF's orientation is
    not looked at. The same line goes on where it was stopped.

    \b
    Examples:
      hpcdl data prepare imagenet --data /scratch/imagenet --out /scratch/imagenet-256 --size 256
      hpcdl data prepare folder --data photos --out shards --bad skip --workers 4
    """
    from hpcdl.data.shards.prepare import prepare as write
    from hpcdl.data.shards.request import Request
    from hpcdl.data.subset import Subset

    if bad not in ("refuse", "skip"):
        raise ConfigError(f"--bad {bad}", "refuse or skip", "choose one of them")
    request = Request(
        source=source,
        path=_located(source, data),
        out=out,
        subset=Subset(_classes(classes), per_class),
        store=store,
        size=size,
        quality=quality,
        shard_mb=shard_mb,
        seed=seed,
        skip=bad == "skip",
        workers=workers or _cores(),
        overwrite=overwrite,
    )
    console = _console(as_json)
    start = monotonic()
    try:
        with Meter(console) as meter:
            outcome = write(request, meter.show)
    except KeyboardInterrupt:
        console.print(f"stopped; finished shards stay in {out}, and the same line goes on from there", highlight=False)
        raise
    seconds = monotonic() - start
    if as_json:
        typer.echo(json.dumps(_summary(outcome, out, seconds)))
    else:
        console.print(_conclusion(outcome, out, seconds), highlight=False)


def verify(
    target: Annotated[
        str, typer.Argument(metavar="DIR|SOURCE", help="A folder of shards, or a name from `hpcdl data list`.")
    ],
    data: Annotated[
        str | None, typer.Option("--data", help="Folder or archive of the source; else HPCDL_DATA, ./data.")
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Look at every byte of a set, and report all that is damaged; exit code 1 if anything is.

    Of shards every digest is computed anew; of image files each is decoded; other sets are loaded.

    \b
    Examples:
      hpcdl data verify /scratch/imagenet-256
      hpcdl data verify imagenet --data /scratch/imagenet
    """
    from hpcdl.data.shards.verify import verify_shards, verify_source

    path, shards = _target(target, data)
    console = _console(as_json)
    with Meter(console) as meter:
        if shards:
            report = verify_shards(path, workers or _cores(), meter.show)
        else:
            report = verify_source(target, path, workers or _cores(), meter.show)
    if as_json:
        findings = [{"file": finding.file, "what": finding.what} for finding in report.findings]
        typer.echo(json.dumps({"path": str(path), "images": report.images, "findings": findings}))
    else:
        console.print(_told(report, path), highlight=False)
    if report.findings:
        raise typer.Exit(1)


class Meter:
    """How far the images are: a live bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("images"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, pace="reading what there is")
        self._start: float | None = None
        self._line = monotonic()

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, counts: Counts, total: int) -> None:
        """Shows how far it is, of so many images."""
        now = monotonic()
        self._start = self._start or now
        pace = _pace(counts, total, now - self._start)
        self._bar.update(self._task, total=total, completed=counts.done, pace=pace)
        if not self._console.is_terminal and now - self._line > LINE_SECONDS:
            self._line = now
            self._console.print(f"{counts.done:,} of {total:,} images  {pace}", highlight=False)


def _pace(counts: Counts, total: int, seconds: float) -> str:
    """Images a second and time left, without those that were there before; and what is damaged."""
    rate = (counts.done - counts.kept) / seconds if seconds > 0 else 0.0
    left = (total - counts.done) / rate if rate else None
    time = "" if left is None else f"  {int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d} left"
    return f"{rate:,.0f} images/s{time}" + (f"  {counts.bad:,} damaged" if counts.bad else "")


def _located(source: str, data: str | None) -> Path:
    """Where a source is.

    Raises:
        ConfigError: there is no such source.
        DataError: its files are not there.
    """
    from hpcdl.cli.prepare import search_places
    from hpcdl.data.sources.registry import SOURCES, locate

    if source not in SOURCES:
        raise ConfigError(
            f"data set {source!r}", "one of: " + ", ".join(SOURCES), "`hpcdl data list` shows what there is"
        )
    return locate(source, [("--data", data)], search_places()).resolve()


def _target(target: str, data: str | None) -> tuple[Path, bool]:
    """What is to be verified, and whether it is a folder of shards.

    Raises:
        ConfigError: neither a source nor a folder of shards.
        DataError: a source whose files are not there.
    """
    from hpcdl.data.sources.registry import SOURCES

    folder = Path(target if data is None else data)
    if (data is None or target in SOURCES) and _holds_shards(folder):
        return folder, True
    if target in SOURCES:
        path = _located(target, data)
        return path, _holds_shards(path)
    raise ConfigError(
        f"{target!r}",
        "a folder that `hpcdl data prepare` wrote, or one of: " + ", ".join(SOURCES),
        "check the path, or name a source and where it is: `hpcdl data verify imagenet --data DIR`",
    )


def _holds_shards(folder: Path) -> bool:
    """Whether it is a folder of shards, even one that lost its manifest."""
    from hpcdl.data.shards.manifest import find

    return find(folder) is not None or any(folder.glob("*-of-*.tfrecord"))


def _classes(told: str | None) -> int | tuple[str, ...] | None:
    if told is None:
        return None
    if told.isdecimal() and int(told) > 0:
        return int(told)
    names = tuple(name for name in told.split(",") if name)
    if told.isdecimal() or not names:
        raise ConfigError(f"--classes {told}", "a number from 1, or names with commas between them", "correct it")
    return names


def _cores() -> int:
    from hpcdl.launch.topology import read_topology

    return read_topology().cores


def _console(as_json: bool) -> Console:
    return Console(stderr=as_json, soft_wrap=True, markup=False, emoji=False)


def _summary(outcome: Outcome, out: Path, seconds: float) -> dict[str, object]:
    manifest = outcome.manifest
    both = (manifest.train, manifest.test)
    return {
        "folder": str(out),
        "source": manifest.source,
        "store": manifest.store,
        "classes": len(manifest.classes),
        "train": manifest.train.samples,
        "test": manifest.test.samples,
        "shards": sum(len(split.shards) for split in both),
        "bytes": sum(file.bytes for file in manifest.parts),
        "skipped": sum(len(split.skipped) for split in both),
        "converted": sum(len(split.converted) for split in both),
        "kept": outcome.kept,
        "complete_before": outcome.before,
        "seconds": round(seconds, 3),
    }


def _conclusion(outcome: Outcome, out: Path, seconds: float) -> str:
    summary = _summary(outcome, out, seconds)
    megabytes = sum(file.bytes for file in outcome.manifest.parts) / 1e6
    lines = [
        f"{out}: {summary['train']:,} training and {summary['test']:,} test images as {summary['store']} in "
        f"{summary['shards']} shards, {megabytes:,.1f} MB"
    ]
    if outcome.before:
        lines[0] += "; it was complete already, and nothing was written"
    else:
        lines[0] += f", in {seconds:.1f} s"
    if outcome.kept and not outcome.before:
        lines.append(f"{outcome.kept:,} of the images were in shards that an earlier call had finished")
    if summary["converted"]:
        lines.append(f"{summary['converted']:,} images were converted; manifest.json lists them")
    if summary["skipped"]:
        lines.append(f"{summary['skipped']:,} damaged images were left out; manifest.json lists them")
    return "\n".join(lines)


def _told(report: Report, path: Path) -> str:
    if not report.findings:
        files = f"{report.files} files, " if report.files else ""
        return f"{path}: {files}{report.images:,} images, nothing is damaged"
    lines = [f"{finding.file}: {finding.what}" for finding in report.findings]
    return "\n".join([*lines, f"{path}: {len(lines)} findings"])
