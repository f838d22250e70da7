"""Parts of a data set, against plain Python loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hpcdl.data.images import Encoded, Images, ImageSet, Split
from hpcdl.data.subset import ALL, Subset, first_of_each, narrow, pick, wanted_classes
from hpcdl.errors import DataError

NAMES = ("ant", "bee", "cat", "dog", "eel")
TRAIN, TEST = 60, 25


def labels_of(count: int, seed: int) -> list[int]:
    """In no order, and no eel."""
    return np.random.default_rng(seed).integers(0, 4, count).tolist()


def in_memory(labels: list[int]) -> Images:
    """Each image says which one it is."""
    pixels = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    return Images(pixels, np.array(labels, np.int32))


def stored(labels: list[int], shaped: bool = False) -> Encoded:
    """The same images, each read as a byte, and with a shape that tells its place where `shaped`."""
    shapes = np.array([[place, 1, 1] for place in range(len(labels))], np.int32) if shaped else None
    return Encoded(
        np.array(labels, np.int32),
        lambda places: [bytes([place]) for place in places],
        lambda place: f"file {place}",
        shapes,
    )


def dataset(train: Split, test: Split) -> ImageSet:
    return ImageSet("set", train, test, NAMES, "here", False, (0.5,), (0.25,))


SETS = {
    "memory": dataset(in_memory(labels_of(TRAIN, 1)), in_memory(labels_of(TEST, 2))),
    "stored": dataset(stored(labels_of(TRAIN, 1)), stored(labels_of(TEST, 2), shaped=True)),
}


def expected(labels: list[int], classes: tuple[str, ...], per_class: int | None) -> tuple[list[int], list[int]]:
    """Places and new labels of the images that are wanted, found one by one."""
    places, renamed, seen = [], [], Counter[str]()
    for place, label in enumerate(labels):
        name = NAMES[label]
        if name in classes and (per_class is None or seen[name] < per_class):
            seen[name] += 1
            places.append(place)
            renamed.append(classes.index(name))
    return places, renamed


def places_of(split: Split) -> list[int]:
    """Which images of the set a part holds."""
    if isinstance(split, Images):
        return split.pixels[:, 0, 0, 0].tolist()
    read = [content[0] for content in split.read(np.arange(len(split)))]
    assert [split.name(place) for place in range(len(split))] == [f"file {place}" for place in read]
    assert split.shapes is None or split.shapes[:, 0].tolist() == read
    return read


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("per_class", [None, 1, 3, 1000])
@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (None, NAMES),
        (1, ("ant",)),
        (3, ("ant", "bee", "cat")),
        (5, NAMES),
        (("dog",), ("dog",)),
        (("dog", "ant"), ("dog", "ant")),
        (("cat", "eel", "bee"), ("cat", "eel", "bee")),
        (tuple(reversed(NAMES)), tuple(reversed(NAMES))),
        (("eel",), ("eel",)),
    ],
)
def test_a_part_is_what_a_loop_picks(
    kind: str, classes: int | tuple[str, ...] | None, names: tuple[str, ...], per_class: int | None
) -> None:
    part = narrow(SETS[kind], Subset(classes, per_class))
    assert part.classes == names
    # The test split keeps all images of its classes.
    for split, labels, count in ((part.train, labels_of(TRAIN, 1), per_class), (part.test, labels_of(TEST, 2), None)):
        places, renamed = expected(labels, names, count)
        assert places_of(split) == places
        assert split.labels.tolist() == renamed and split.labels.dtype == np.int32 and len(split) == len(places)
    assert (part.name, part.path, part.mean, part.std) == ("set", "here", (0.5,), (0.25,))


def test_all_of_a_set_is_the_set() -> None:
    assert narrow(SETS["memory"], ALL) is SETS["memory"]
    assert narrow(SETS["memory"], Subset(5)).train.labels.tolist() == labels_of(TRAIN, 1)


def test_a_class_without_images_gives_an_empty_part() -> None:
    part = narrow(SETS["memory"], Subset(("eel",), 3))
    assert isinstance(part.train, Images)
    assert len(part.train) == len(part.test) == 0 and part.train.pixels.shape == (0, 2, 3, 1)
    assert narrow(SETS["stored"], Subset(("eel",), 3)).train.labels.tolist() == []


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (6, "data.classes=6 of a set with 5"),
        (("ant", "fox"), "no class 'fox'"),
        (("ANT",), "no class 'ANT'"),
        (("ant", "bee", "ant"), "a class named twice"),
    ],
)
def test_classes_that_are_not_there_are_refused(classes: int | tuple[str, ...], told: str) -> None:
    with pytest.raises(DataError, match=told):
        wanted_classes(NAMES, Subset(classes))
    with pytest.raises(DataError, match=told):
        narrow(SETS["memory"], Subset(classes))


@pytest.mark.parametrize("count", [1, 2, 7, None])
@pytest.mark.parametrize("labels", [[], [0], [3, 3, 3, 3], [1, 0, 1, 0, 1, 0], [2] * 9 + [0] * 9, labels_of(200, 3)])
def test_the_first_of_each_class_are_the_first_in_the_sets_order(labels: list[int], count: int | None) -> None:
    seen, places = Counter[int](), []
    for place, label in enumerate(labels):
        seen[label] += 1
        if count is None or seen[label] <= count:
            places.append(place)
    assert first_of_each(np.array(labels, np.int32), count).tolist() == places


@pytest.mark.parametrize("make", [in_memory, stored])
def test_samples_are_picked_in_the_order_that_is_asked_for(make: object) -> None:
    assert callable(make)
    labels = labels_of(TRAIN, 1)
    split = pick(make(labels), np.array([9, 3, 3, 50]))
    assert places_of(split) == [9, 3, 3, 50]
    assert split.labels.tolist() == [labels[place] for place in (9, 3, 3, 50)]
    assert places_of(pick(split, np.array([3, 0]))) == [50, 9]
