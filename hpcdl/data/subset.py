"""A part of a data set, always the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hpcdl.data.images import Encoded, Images, ImageSet, Split
from hpcdl.errors import DataError


@dataclass(frozen=True)
class Subset:
    """Which images of a set are wanted."""

    classes: int | tuple[str, ...] | None = None
    """The first so many classes, or those of these names, in this order; None: all."""
    per_class: int | None = None
    """At most so many training images a class, the first ones; None: all. The test split keeps all of its classes'."""


ALL = Subset()


def wanted_classes(names: Sequence[str], subset: Subset) -> tuple[str, ...]:
    """The classes of a subset; a class's label is its place here.

    Args:
        names: of all classes, in the order of their labels.
        subset: what is wanted.

    Raises:
        DataError: more classes than there are, one twice, or one that is not there.
    """
    if subset.classes is None:
        return tuple(names)
    if isinstance(subset.classes, int):
        if subset.classes > len(names):
            raise DataError(
                f"data.classes={subset.classes} of a set with {len(names)}",
                f"at most {len(names)} classes",
                "choose fewer",
            )
        return tuple(names[: subset.classes])
    missing = [name for name in subset.classes if name not in names]
    if missing or len(set(subset.classes)) < len(subset.classes):
        told = f"no class {missing[0]!r}" if missing else "a class named twice"
        raise DataError(f"data.classes: {told}", f"classes of the set, as {', '.join(names[:5])}", "correct the list")
    return subset.classes


def first_of_each(labels: npt.NDArray[np.int32], count: int | None) -> npt.NDArray[np.int64]:
    """Places of the first `count` samples of each class, in the set's order; None: of all."""
    if count is None:
        return np.arange(len(labels))
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    return np.sort(order[np.arange(len(labels)) - starts < count])


def narrow(images: ImageSet, subset: Subset) -> ImageSet:
    """The part of a set that a subset wants, its labels counted anew.

    Raises:
        DataError: see `wanted_classes`.
    """
    if subset == ALL:
        return images
    classes = wanted_classes(images.classes, subset)
    label = np.full(len(images.classes), -1, np.int32)
    label[[images.classes.index(name) for name in classes]] = np.arange(len(classes))
    train, test = (_relabel(split, label) for split in (images.train, images.test))
    train = pick(train, first_of_each(train.labels, subset.per_class))
    return replace(images, train=train, test=test, classes=classes)


def pick(split: Split, places: npt.NDArray[np.int64]) -> Split:
    """Some samples of a split, in the order of `places`."""
    if isinstance(split, Images):
        return Images(split.pixels[places], split.labels[places])
    paths = split.paths
    return Encoded(
        split.labels[places],
        lambda wanted: split.read(places[wanted]),
        lambda place: split.name(int(places[place])),
        None if split.shapes is None else split.shapes[places],
        None if paths is None else lambda wanted: paths(places[wanted]),
    )


def _relabel(split: Split, label: npt.NDArray[np.int32]) -> Split:
    """The samples whose class is wanted (label from 0), with their new labels."""
    kept = pick(split, np.flatnonzero(label[split.labels] >= 0))
    return replace(kept, labels=label[kept.labels])
