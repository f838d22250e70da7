"""hpcdl predict: what a run's model takes images for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpcdl.cli.evaluate import RunDir, check_writable, quiet_start
from hpcdl.cli.options import Checkpoint, Json
from hpcdl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from hpcdl.training.finished import Network
    from hpcdl.training.pictures import Guess, Picture

AT_ONCE = 32
"""Images in memory at a time."""
DRAWN = 60
"""Images in the picture, the first ones."""


@dataclass
class _Told:
    """What became of the images so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    drawn: list[tuple[Picture, Guess]] = field(default_factory=list)
    refused: int = 0


def predict(
    run: RunDir,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Image files, of any format and size.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to tell of each image.")] = 3,
    checkpoint: Checkpoint = None,
    out: Annotated[Path | None, typer.Option("--out", help="Draw the images with their classes, FILE.png.")] = None,
    as_json: Json = False,
) -> None:
    """Tell the most probable classes of image files, and their probabilities.

    Where a network was trained on image files of many sizes, an image is cut and scaled as in an evaluation; otherwise
    the whole image is scaled to the network's size. A network for grey images gets them grey; MNIST's digits are white
    on black. A file that is no image is named, the others are answered, and the exit code is 1.

    \b
    Example:
      hpcdl predict runs/a cat.jpg dog.png --top 5 --out guesses.png
    """
    from hpcdl.training.finished import load_network, read_run

    finished = read_run(run, checkpoint)
    if out is not None:
        _check_picture(out)
    with quiet_start():
        import_module("hpcdl.training.pictures")  # here, for it brings TensorFlow
    network = load_network(finished)
    told = _Told()
    for start in range(0, len(images), AT_ONCE):
        for path, picture, answer in _answers(network, images[start : start + AT_ONCE], top):
            _tell(told, path, picture, answer, as_json=as_json)
    if out is not None and told.drawn:
        _draw(out, f"{finished.config.name}: what {run} takes them for", told)
    if as_json:
        typer.echo(json.dumps(told.rows, allow_nan=False))
    if told.refused:
        typer.echo(f"{told.refused} of {len(images)} images could not be used", err=True)
        raise typer.Exit(1)


def _answers(
    network: Network, paths: Sequence[Path], top: int
) -> Iterator[tuple[Path, Picture | None, list[Guess] | str]]:
    """Each path with its picture and classes, or with what is wrong with it, in their order."""
    from hpcdl.training.pictures import read_picture

    read: list[Picture | str] = []
    for path in paths:
        try:
            read.append(read_picture(path, network))
        except DataError as error:
            read.append(error.received)
    answers = iter(_guesses(network, [each for each in read if not isinstance(each, str)], top))
    for path, each in zip(paths, read, strict=True):
        if isinstance(each, str):
            yield path, None, each
        else:
            yield path, each, next(answers)


def _guesses(network: Network, pictures: Sequence[Picture], top: int) -> list[list[Guess] | str]:
    """Each picture's classes; where TensorFlow cannot decode what Pillow could, that picture's error."""
    from hpcdl.training.pictures import guesses

    if not pictures:
        return []
    try:
        return list(guesses(network, pictures, top))
    except DataError as error:
        if len(pictures) == 1:
            return [error.received]
    return [each for picture in pictures for each in _guesses(network, [picture], top)]


def _tell(told: _Told, path: Path, picture: Picture | None, answer: list[Guess] | str, *, as_json: bool) -> None:
    """Prints an answer, or keeps it for JSON."""
    if isinstance(answer, str):
        told.refused += 1
        told.rows.append({"image": str(path), "error": answer})
        typer.echo(answer, err=True)
        return
    classes = [{"class": guess.name, "probability": guess.probability} for guess in answer]
    told.rows.append({"image": str(path), "classes": classes})
    if picture and len(told.drawn) < DRAWN:
        told.drawn.append((picture, answer[0]))
    if not as_json:
        typer.echo(f"{path}: {', '.join(f'{guess.name} {guess.probability:.4f}' for guess in answer)}")


def _check_picture(out: Path) -> None:
    if out.suffix.lower() != ".png" or out.is_dir():
        raise ConfigError(f"--out {out}", "a file whose name ends in .png", "name one, as guesses.png")
    check_writable(out.parent)


def _draw(out: Path, title: str, told: _Told) -> None:
    """Writes the picture of the first images."""
    from hpcdl.records import write_bytes
    from hpcdl.report.canvas import png
    from hpcdl.report.samples import sample_grid

    answered = len(told.rows) - told.refused
    more = f"\nthe first {len(told.drawn)} of {answered}" if answered > len(told.drawn) else ""
    captions = [f"{guess.name} {100 * guess.probability:.0f} %\n{picture.path.name}" for picture, guess in told.drawn]
    content = png(sample_grid([picture.shown for picture, _ in told.drawn], captions, title + more))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, content)
