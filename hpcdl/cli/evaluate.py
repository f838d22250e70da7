"""hpcdl evaluate: how good a run's model is, class by class."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdl.cli.options import Checkpoint, Data, Json
from hpcdl.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress

    from hpcdl.training.evaluation import Evaluation

RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run, with its model.keras.")]
ROWS = 20
"""Up to so many classes all of them are printed; of more, the worst."""
WORST = 10
PAIRS = 5
"""Confused classes that are printed, twice as many where there are more classes than ROWS."""


def evaluate(
    run: RunDir,
    split: Annotated[str, typer.Option("--split", help="test, train or validation (what the run held out).")] = "test",
    checkpoint: Checkpoint = None,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the results; default RUN_DIR/evaluation.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=0, help="Images in samples.png; 0 draws none.")] = 24,
    as_json: Json = False,
) -> None:
    """Evaluate a run's model: accuracy, scores of each class, and which classes it confuses.

    Writes evaluation.json, classes.csv, confusion.png and samples.png: predictions with their probabilities, half of
    them right, half the wrong ones of which the model is surest.

    \b
    Examples:
      hpcdl evaluate runs/a
      hpcdl evaluate runs/a --split validation --json
      hpcdl evaluate runs/a --checkpoint best
    """
    from hpcdl.cli import prepare
    from hpcdl.training.finished import load_network, read_run

    finished = read_run(run, checkpoint)
    path = prepare.data_path(finished.config, data)
    folder = out or run / "evaluation"
    check_writable(folder)
    with quiet_start():
        from hpcdl.training.evaluation import evaluate as compute
    network = load_network(finished)
    with progress_bar() as bar:
        task = bar.add_task("evaluating", total=None)
        result = compute(
            network, path, split, samples, lambda done, count: bar.update(task, completed=done, total=count)
        )
    files = _files(result)
    folder.mkdir(parents=True, exist_ok=True)
    write_files(folder, files)
    if "samples.png" not in files:  # of an earlier evaluation
        (folder / "samples.png").unlink(missing_ok=True)
    if as_json:
        typer.echo(json.dumps({**result.document(), "folder": str(folder)}, allow_nan=False))
        return
    for line in _lines(result):
        typer.echo(line)
    typer.echo(f"written to {folder}: {', '.join(files)}")


def check_writable(folder: Path) -> None:
    """Refuses a folder that could not be made or written, before anything is computed for it.

    Raises:
        ConfigError: it is a file, or permissions are missing.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "may not be written" if there.is_dir() else "is no folder"
        raise ConfigError(f"--out {folder}: {there} {why}", "a folder that can be written", "choose another --out")


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Writes each file whole or not at all."""
    from hpcdl.records import write_bytes

    for name, content in files.items():
        write_bytes(folder / name, content)


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keeps what TensorFlow says while it is imported off the terminal, unless the import fails.

    Some of it is written before any setting of TensorFlow's is read.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def progress_bar() -> Progress:
    """A bar on a terminal's stderr, gone at the end; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    return Progress(
        *columns,
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _files(result: Evaluation) -> dict[str, bytes]:
    """What is written, by name."""
    from hpcdl.analysis.classification import class_scores
    from hpcdl.report.canvas import png
    from hpcdl.report.confusion import classes_csv, confusion_figure

    classes = result.data.classes
    document = json.dumps(result.document(), indent=1, allow_nan=False) + "\n"
    files = {
        "evaluation.json": document.encode(),
        "classes.csv": classes_csv(class_scores(result.matrix), classes).encode(),
        "confusion.png": png(confusion_figure(result.matrix, classes, _title(result))),
    }
    return files | ({"samples.png": _samples(result)} if result.samples else {})


def _samples(result: Evaluation) -> bytes:
    import numpy as np

    from hpcdl.report.canvas import png
    from hpcdl.report.samples import pixels, prediction_caption, sample_grid

    shown = result.samples
    images = pixels(result.images, np.array([one.place for one in shown], np.int64))
    captions = [prediction_caption(one.label, one.predicted, one.probability, result.data.classes) for one in shown]
    right = [one.label == one.predicted for one in shown]
    title = f"{_title(result)}\nright ones from all over the split, and the wrong ones of which the model is surest"
    return png(sample_grid(images, captions, title, right=right))


def _title(result: Evaluation) -> str:
    synthetic = "synthetic " if result.data.synthetic else ""
    return (
        f"{result.run.config.name} on {synthetic}{result.data.name}, {result.split} split: "
        f"{result.count:,} images, accuracy {result.accuracy:.4f}"
    )


def _lines(result: Evaluation) -> list[str]:
    """What is printed."""
    from hpcdl.analysis.classification import class_scores, most_confused

    top5 = "" if result.top5 is None else f", top-5 accuracy {result.top5:.4f}"
    alike = result.run_accuracy is not None and result.difference is None
    lines = [
        f"{result.run.folder}, {result.split} split of {result.data.origin}",
        f"{result.count:,} images: loss {result.loss:.4f}, accuracy {result.accuracy:.4f}"
        f"{' (as in summary.json)' if alike else ''}{top5}",
    ]
    if result.difference:
        lines.append(f"note: {result.difference}")
    names = result.data.classes
    rows = list(zip(names, class_scores(result.matrix), strict=True))
    if len(rows) > ROWS:
        lines.append(f"the {WORST} of {len(rows)} classes with the lowest F1:")
        rows = sorted(rows, key=lambda row: (row[1].f1 is None, row[1].f1))[:WORST]
    width = max(len("class"), *(len(_name(name)) for name, _ in rows))
    lines.append(f"{'class':{width}}  images  precision  recall      F1")
    lines += [
        f"{_name(name):{width}}  {score.count:6,}  {_ratio(score.precision):>9}  {_ratio(score.recall):>6}  "
        f"{_ratio(score.f1):>6}"
        for name, score in rows
    ]
    pairs = [
        f"  {_name(names[one.label])} for {_name(names[one.predicted])}: {one.images:,}, {100 * one.share:.1f} %"
        for one in most_confused(result.matrix, PAIRS if len(names) <= ROWS else 2 * PAIRS)
    ]
    return [*lines, *(["most often taken for another class (% of the true one):"] if pairs else []), *pairs]


def _name(name: str) -> str:
    words = " ".join(name.split())
    return words if len(words) <= 24 else f"{words[:23]}…"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
