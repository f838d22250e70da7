"""Names of class folders and of the images in them, sorted; anything that does not belong there is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hpcdl.data.sources.entries import leads_nowhere, leads_to_folder, may_be_read, shown, visible
from hpcdl.errors import DataError

KINDS = (".jpeg", ".jpg", ".png", ".bmp", ".gif")
LITTER = ("thumbs.db", ".txt", ".xml", ".csv", ".json")
"""Ends of the names that are passed over in a class folder, as hidden ones are."""
ONLY = f"only images ({', '.join(KINDS)}) in a class folder"


def named_as_image(name: str) -> bool:
    """Whether a name ends as an image's does, in any case."""
    return name.lower().endswith(KINDS)


def class_names(split: Path, pattern: re.Pattern[str] | None = None) -> list[str]:
    """The sorted names of a split's class folders.

    Args:
        split: to list.
        pattern: of their names; other folders are passed over. None: all are class folders.

    Raises:
        DataError: there are none, images lie beside them, or one is no folder or cannot be printed.
    """
    names = []
    for entry in visible(split):
        fits = pattern is None or pattern.fullmatch(entry.name) is not None
        if leads_to_folder(entry):
            names.extend([entry.name] if fits else [])
        elif named_as_image(entry.name):
            raise DataError(f"{shown(entry)}: an image beside class folders", "a folder a class", "move or delete it")
        elif leads_nowhere(entry) or (fits and pattern is not None):
            raise DataError(f"{shown(entry)} leads to no folder", "a folder a class", "copy or link it again")
    if not names:
        like = "" if pattern is None else ", named by their WNIDs (n and eight digits)"
        raise DataError(f"no class folders in {shown(split)}", f"a folder a class{like}", "copy the set again")
    for name in names:
        if shown(Path(name)) != name:
            raise DataError(f"class folder {shown(split / name)}", "a name in UTF-8", "rename it")
    return sorted(names)


def classes_of_test(split: Path, train: Sequence[str], pattern: re.Pattern[str] | None = None) -> list[str]:
    """As `class_names`, and all of them classes of `train`.

    Raises:
        DataError: as `class_names`, and for one that is not in `train`.
    """
    names = class_names(split, pattern)
    strange = sorted(set(names).difference(train))
    if strange:
        raise DataError(
            f"{split / strange[0]}: a class without training images",
            f"classes of train, as {', '.join(train[:3])}",
            "delete it, or add the class to train; data.classes chooses some classes of a set",
        )
    return names


def image_names(folder: Path, inside: str | None = None) -> tuple[Path, list[str]]:
    """Where the images of a folder are, and their sorted names.

    Args:
        folder: to list.
        inside: name of a folder in it that may hold the images instead.

    Raises:
        DataError: there are none, or something else is among them.
    """
    names, others = [], []
    for entry in visible(folder):
        if named_as_image(entry.name) and may_be_read(entry):
            names.append(entry.name)
        elif not entry.name.lower().endswith(LITTER) or leads_to_folder(entry):
            others.append(entry)
    if inside is not None and not names and [entry.name for entry in others] == [inside]:
        return image_names(folder / inside)
    if others:
        other = min(others, key=lambda entry: entry.name)
        kind = "a folder" if leads_to_folder(other) else "a file of another kind"
        raise DataError(f"{shown(other)}: {kind} among images", ONLY, "move or delete it")
    if not names:
        raise DataError(f"no images in {shown(folder)}", ONLY, "add some, or delete the folder")
    return folder, sorted(names)
