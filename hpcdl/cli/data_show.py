"""hpcdl data show: a look at a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdl.cli.options import Json
from hpcdl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from hpcdl.data.images import ImageSet, Split

MOST = 200
"""Images that a grid shows at most."""


def show(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A name from `hpcdl data list`.")],
    data: Annotated[
        str | None, typer.Option("--data", help="Folder or archive of the data; else HPCDL_DATA, ./data.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train or test.")] = "train",
    count: Annotated[int, typer.Option("--count", min=1, max=MOST, help="Images in the grid.")] = 40,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which images: equal seeds choose equal ones.")] = 0,
    out: Annotated[
        Path, typer.Option("--out", help="PNG of the images; that of the classes lies beside it as …-classes.png.")
    ] = Path("samples.png"),
    as_json: Json = False,
) -> None:
    """Draw random images of a data set with their labels, and how many images each class has.

    \b
    Examples:
      hpcdl data show cifar10
      hpcdl data show folder --data pets --split test --out pets.png
    """
    import numpy as np

    from hpcdl.cli.prepare import search_places
    from hpcdl.data.sources.registry import SOURCES, locate
    from hpcdl.data.subset import ALL
    from hpcdl.report.canvas import png
    from hpcdl.report.samples import class_histogram, pixels, sample_grid

    if source not in SOURCES:
        raise ConfigError(
            f"data set {source!r}", "one of: " + ", ".join(SOURCES), "`hpcdl data list` shows what there is"
        )
    if split not in {"train", "test"}:
        raise ConfigError(f"--split {split}", "train or test", "use --split train")
    if out.suffix != ".png" or not out.parent.is_dir():
        raise ConfigError(f"--out {out}", "a name that ends in .png, in a folder that is there", "correct --out")
    images = SOURCES[source].load(locate(source, [("--data", data)], search_places()).resolve(), ALL)
    chosen = images.train if split == "train" else images.test
    if not len(chosen):
        raise DataError(f"{images.path} without {split} images", "at least one", "choose the other split with --split")
    places = np.random.default_rng(seed).choice(len(chosen), min(count, len(chosen)), replace=False)
    names = [images.classes[label] for label in chosen.labels[places]]
    title = _title(images, split, chosen)
    beside = out.with_name(f"{out.stem}-classes.png")
    drawn = f"{len(places):,} of them at random, seed {seed}"
    _write(
        {
            out: png(sample_grid(pixels(chosen, places), names, f"{title}\n{drawn}")),
            beside: png(class_histogram(chosen.labels, images.classes, title)),
        }
    )
    if as_json:
        counts = np.bincount(chosen.labels, minlength=len(images.classes)).tolist()
        row = {"source": source, "split": split, "images": len(chosen), "synthetic": images.synthetic}
        classes = [{"name": name, "images": many} for name, many in zip(images.classes, counts, strict=True)]
        typer.echo(json.dumps({**row, "path": images.path, "classes": classes, "files": [str(out), str(beside)]}))
        return
    typer.echo(f"{title}\n{out}: {drawn}\n{beside}: images of each class")


def _title(images: ImageSet, split: str, chosen: Split) -> str:
    many, classes = len(chosen), len(images.classes)
    words = (
        f"{images.name}, {split} split: {many:,} {'image' if many == 1 else 'images'} "
        f"in {classes:,} {'class' if classes == 1 else 'classes'}"
    )
    return f"SYNTHETIC stand-in for {words}" if images.synthetic else words


def _write(content: dict[Path, bytes]) -> None:
    """Writes files that are known to be drawn."""
    from hpcdl.records import write_bytes

    for path, data in content.items():
        try:
            write_bytes(path, data)
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror}", "a place that can be written", "name another with --out"
            ) from None
