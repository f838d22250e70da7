"""Labels of validation images that lie in one folder: which files are accepted, and what they say."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from hpcdl.data.images import Labels
from hpcdl.data.sources.files import unreadable
from hpcdl.errors import DataError

ANNOTATIONS, SOLUTION, INDEXED = "val_annotations.txt", "LOC_val_solution.csv", "val.txt"
EXPECTED = (
    "folders val/WNID, or labels in one of: "
    f"val/{ANNOTATIONS} or {ANNOTATIONS} (name, tab, WNID, as Tiny ImageNet's), "
    f"{SOLUTION} (Kaggle's, in the root or beside it), {INDEXED} (name, space, place in the sorted WNIDs, as Caffe's)"
)
MEND = (
    "add one of these files, or sort the images into a folder a class; the devkit's "
    "ILSVRC2012_validation_ground_truth.txt is not read, for it numbers the classes in an order of its own, which "
    "only its meta.mat tells"
)
KAGGLE = ("ILSVRC", "Data", "CLS-LOC")
"""Folders that Kaggle's archive puts between its root, where the solution is, and the images."""

Row = tuple[str, str]
"""An image's name, and its label as the file says it."""


def label_file(root: Path) -> Path:
    """The first file of EXPECTED that is there.

    Args:
        root: the folder with `train` and `val`.

    Raises:
        DataError: there is none.
    """
    solutions = [root / SOLUTION, root.parent / SOLUTION]
    if root.parts[-3:] == KAGGLE:
        solutions.append(root.parents[2] / SOLUTION)
    for file in (root / "val" / ANNOTATIONS, root / ANNOTATIONS, *solutions, root / INDEXED):
        if file.is_file():
            return file
    raise DataError(f"{root / 'val'} without class folders, and no file of its labels", EXPECTED, MEND)


def read_labels(file: Path, folder: Path, names: Sequence[str], classes: Sequence[str]) -> Labels:
    """What a file of EXPECTED says about each image.

    Args:
        file: what `label_file` answered.
        folder: where the images are, for messages.
        names: (samples,), the images that are there.
        classes: of the full set, sorted.

    Returns:
        (samples,), int32: the place of each image's class in `classes`.

    Raises:
        DataError: a line that is no name and label, a label outside of `classes`, an image twice, one that is
            listed and not there, or one that is there and not listed.
    """
    place_of = _by_stem(names, folder) if file.name == SOLUTION else {name: place for place, name in enumerate(names)}
    spelled = map(str, range(len(classes))) if file.name == INDEXED else iter(classes)
    label_of = {told: label for label, told in enumerate(spelled)}
    labels = np.full(len(names), -1, np.int32)
    for where, (name, told) in _rows(file):
        if told not in label_of:
            raise DataError(f"{where}: label {told!r} of {name}", _range(file, classes), "correct or copy the file")
        if name not in place_of:
            raise DataError(
                f"{where}: {folder / name} is not there", "every listed image", "copy it again, or delete the line"
            )
        if labels[place_of[name]] >= 0:
            raise DataError(f"{where}: {name} for the second time", "every image once", "delete one of its lines")
        labels[place_of[name]] = label_of[told]
    if (labels < 0).any():
        name = names[int(np.argmax(labels < 0))]
        raise DataError(f"{folder / name} has no line in {file}", "a line for every image", "add one, or delete it")
    return labels


def _range(file: Path, classes: Sequence[str]) -> str:
    if file.name == INDEXED:
        return f"0 to {len(classes) - 1}, a place in the sorted names of the {len(classes)} folders in train"
    return f"one of the {len(classes)} folders in train, as {', '.join(classes[:3])}"


def _by_stem(names: Sequence[str], folder: Path) -> dict[str, int]:
    """Places by name without the extension, which Kaggle's file leaves out."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        stem = name.rpartition(".")[0]
        if stem in places:
            told = f"{folder / name} beside {names[places[stem]]}"
            raise DataError(told, f"names that differ before the extension, for {SOLUTION}", "delete one of them")
        places[stem] = place
    return places


def _annotation(line: str) -> Row | None:
    """Of val_0.JPEG<TAB>n03444034<TAB>0<TAB>32<TAB>44<TAB>62, where the numbers are a box."""
    fields = line.split("\t")
    return (fields[0], fields[1]) if len(fields) > 1 else None


def _solution(line: str) -> Row | None:
    """Of ILSVRC2012_val_00048981,n03995372 85 1 499 272, which repeats class and box for each object."""
    try:
        fields = next(csv.reader([line]))
    except csv.Error:
        return None
    words = fields[1].split() if len(fields) == 2 else []
    return (fields[0], words[0]) if words else None


def _indexed(line: str) -> Row | None:
    """Of ILSVRC2012_val_00000001.JPEG 65."""
    words = line.rsplit(maxsplit=1)
    return (words[0], words[1]) if len(words) == 2 else None


PARSERS: Mapping[str, Callable[[str], Row | None]] = {
    ANNOTATIONS: _annotation,
    SOLUTION: _solution,
    INDEXED: _indexed,
}


def _rows(file: Path) -> Iterator[tuple[str, Row]]:
    """Where it stands and what it says, for each line that is not blank, nor the header of Kaggle's file."""
    try:
        # Not splitlines, which counts more characters as ends of lines than editors do.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not text: {error.reason}", "UTF-8", "copy the file again") from None
    except OSError as error:
        raise unreadable(file, error) from None
    for number, line in enumerate(map(str.strip, lines), start=1):
        header = number == 1 and file.name == SOLUTION and line == "ImageId,PredictionString"
        if not line or header:
            continue
        row = PARSERS[file.name](line)
        if row is None:
            raise DataError(f"{file}, line {number}: {line[:80]!r}", f"a name and a label; {EXPECTED}", "correct it")
        yield f"{file}, line {number}", row
