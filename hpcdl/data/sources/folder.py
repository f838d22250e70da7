"""Any folder of images with a folder a class.

Only names are read at first, those of the wanted classes; an image's bytes are read when they are needed.
"""

from __future__ import annotations

import os
from pathlib import Path

from hpcdl.data.images import ImageSet
from hpcdl.data.sources.entries import folder_if_there, has_folder, is_folder, leads_to_folder, shown, visible
from hpcdl.data.sources.files import MARK
from hpcdl.data.sources.imagenet import MEAN, STD
from hpcdl.data.sources.listing import class_names, classes_of_test, named_as_image
from hpcdl.data.sources.stored import by_class, empty
from hpcdl.data.subset import Subset, wanted_classes
from hpcdl.errors import DataError

STAND_IN = "folder"
"""What a stand-in's folder is called."""
PLACES = ("", STAND_IN)
"""Where `find` looks under a path."""
LAYOUT = "train/CLASS/* with test/CLASS/*, val/CLASS/* or validation/CLASS/*; or CLASS/* alone"
TESTS = ("test", "val", "validation")


def find(path: Path) -> Path | None:
    """A path, or `folder` in it, that has a `train` folder or folders with images; None where neither has.

    One that cannot be read is answered too, so that `check` says why. Many folders look like this: it is for paths
    that a user named for this source, and not for places where any set is looked for.
    """
    for place in (path / name for name in PLACES):
        try:
            if is_folder(place / "train") or (
                is_folder(place) and any(leads_to_folder(entry) and _has_image(entry) for entry in visible(place))
            ):
                return place
        except DataError:
            return place
    return None


def check(path: Path) -> None:
    """Refuses a layout that `load` would; class folders are not read.

    Raises:
        DataError: no class folders, images beside them, or test classes that are not in `train`.
    """
    train, test = _train_and_test(path)
    names = class_names(train)
    if test is not None:
        classes_of_test(test, names)


def load(path: Path, subset: Subset) -> ImageSet:
    """Lists a folder of images by class: classes sorted by name, and each one's images by name.

    PATH/train/CLASS/*, with the first of PATH/test, PATH/val and PATH/validation that has class folders as test
    split; or PATH/CLASS/* with an empty test split, where no class may be called train, test, val or validation.
    A class may be missing in the test split. Mean and deviation are ImageNet's, as weights trained on it expect.

    Args:
        path: what `find` answered.
        subset: which classes, and how many training images of each; other class folders are not listed.

    Raises:
        DataError: see `wanted_classes`; no class folders, or images beside them; a class folder that is empty, cannot
            be read, or holds a folder or a file of another kind; a test class that is not in `train`.
    """
    root = path.absolute()
    train, test = _train_and_test(root)
    names = class_names(train)
    classes = wanted_classes(names, subset)
    return ImageSet(
        name="folder",
        train=by_class(train, classes, names, subset.per_class),
        test=empty() if test is None else by_class(test, classes, classes_of_test(test, names)),
        classes=classes,
        path=str(path),
        synthetic=(root / MARK).is_file(),
        mean=MEAN,
        std=STD,
    )


def _train_and_test(root: Path) -> tuple[Path, Path | None]:
    """The folder with the class folders to train on, and the one to test on."""
    if not has_folder(root / "train"):
        for name in ("train", *TESTS):
            if is_folder(root / name):
                told = "without class folders" if name == "train" else "without a train beside it"
                raise DataError(
                    f"{shown(root / name)} {told}", LAYOUT, f"if {name} is a class, move all classes into train"
                )
        return root, None
    tests = [split for split in (folder_if_there(root / name) for name in TESTS) if split is not None]
    for split in tests:
        if has_folder(split):
            return root / "train", split
    if tests:
        raise DataError(f"{shown(tests[0])} without class folders", LAYOUT, "sort its images, or rename it")
    return root / "train", None


def _has_image(folder: os.DirEntry[str]) -> bool:
    return any(named_as_image(entry.name) for entry in visible(Path(folder)))
