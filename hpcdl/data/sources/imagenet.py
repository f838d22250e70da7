"""ImageNet as it is unpacked: class folders named by WNIDs, and validation images in such folders or in a list.

Only names are read at first, those of the wanted classes; an image's bytes are read when they are needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcdl.data.images import Encoded, ImageSet
from hpcdl.data.sources.entries import folder_if_there, is_folder, visible
from hpcdl.data.sources.files import MARK
from hpcdl.data.sources.listing import class_names, classes_of_test, image_names, named_as_image
from hpcdl.data.sources.stored import Listed, by_class, empty, join
from hpcdl.data.sources.validation_labels import label_file, read_labels
from hpcdl.data.subset import Subset, wanted_classes
from hpcdl.errors import DataError

# Of the training pixels, as widely used.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STAND_IN = "imagenet"
"""What a stand-in's folder is called."""
PLACES = ("", STAND_IN, "imagenet-sample", "ILSVRC2012", "ILSVRC/Data/CLS-LOC")
"""Where `find` looks under a path, in this order; the last is Kaggle's."""
LAYOUT = "train/WNID/*.JPEG, and val/WNID/*.JPEG or val/*.JPEG with a file of labels"
WNID = re.compile(r"n[0-9]{8}")
INSIDE = "images"
"""Folder in which Tiny ImageNet keeps the images of a class, and those of `val`."""


def find(path: Path) -> Path | None:
    """The folder at or under a path whose `train` has folders named by WNIDs (n and eight digits).

    One that cannot be read is answered too, so that `check` says why.
    """
    for place in (path / name for name in PLACES):
        train = place / "train"
        try:
            if is_folder(train) and any(WNID.fullmatch(entry.name) for entry in visible(train)):
                return place
        except DataError:
            return place
    return None


def check(path: Path) -> None:
    """Refuses a layout that `load` would; neither class folders nor labels are read.

    Raises:
        DataError: `train` has no class folders, or `val` has neither class folders nor a file of labels.
    """
    names = class_names(path / "train", WNID)
    val = folder_if_there(path / "val")
    if val is not None and _is_sorted(val):
        classes_of_test(val, names, WNID)
    elif val is not None:
        label_file(path.absolute())


def load(path: Path, subset: Subset) -> ImageSet:
    """Lists ImageNet, or a set in its layout: classes sorted by WNID, and each one's images by name.

    All layouts of `val` give the same images in the same order. A class may be missing in `val`; without `val` the
    test split is empty. Tiny ImageNet's train/WNID/images/*.JPEG is read too.

    Args:
        path: what `find` answered.
        subset: which classes, and how many training images of each; other class folders are not listed.

    Raises:
        DataError: see `wanted_classes`, `label_file` and `read_labels`; `train` without class folders, or with images
            beside them; a class folder that is empty, cannot be read, or holds a folder or a file of another kind;
            a class of `val` that is not in `train`.
    """
    root = path.absolute()
    names = class_names(root / "train", WNID)
    classes = wanted_classes(names, subset)
    val = folder_if_there(root / "val")
    if val is None:
        test = empty()
    elif _is_sorted(val):
        test = by_class(val, classes, classes_of_test(val, names, WNID), inside=INSIDE)
    else:
        test = _by_list(label_file(root), val, names, classes)
    return ImageSet(
        name="imagenet",
        train=by_class(root / "train", classes, names, subset.per_class, inside=INSIDE),
        test=test,
        classes=classes,
        path=str(path),
        synthetic=(root / MARK).is_file(),
        mean=MEAN,
        std=STD,
    )


def _is_sorted(val: Path) -> bool:
    """Whether `val` has class folders; it is listed up to the first of them or of the images."""
    for entry in visible(val):
        if WNID.fullmatch(entry.name):
            return True
        if entry.name == INSIDE or named_as_image(entry.name):
            return False
    return False


def _by_list(file: Path, split: Path, names: Sequence[str], classes: Sequence[str]) -> Encoded:
    """The images of a folder without class folders, in the order that `by_class` would give."""
    folder, images = image_names(split, INSIDE)
    wanted = {name: label for label, name in enumerate(classes)}
    label = np.array([wanted.get(name, -1) for name in names], np.int32)
    labels = label[read_labels(file, folder, images, names)]
    order = np.argsort(labels, kind="stable")[np.count_nonzero(labels < 0) :]
    return join([Listed.of(folder, [images[place] for place in order])], labels[order])
