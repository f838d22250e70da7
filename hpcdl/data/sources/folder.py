"""Folders of images: ImageNet as it is unpacked, and any folder with a folder a class.

Only names are read at first, those of the wanted classes; an image's bytes are read when they are needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcdl.data.images import Encoded, ImageSet, Labels
from hpcdl.data.sources.validation_labels import label_file, read_labels
from hpcdl.data.subset import Subset, wanted_classes
from hpcdl.errors import DataError

KINDS = (".jpeg", ".jpg", ".png", ".bmp", ".gif")
LITTER = ("thumbs.db", ".txt", ".xml", ".csv", ".json")
"""Ends of the names that are passed over in a class folder, as hidden ones are."""
MARK = "synthetic.json"
"""Lies in the root of a set that hpcdl made."""
# Of ImageNet's training pixels, as widely used; other folders are normalised alike.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

IMAGENET_PLACES = ("", "imagenet", "imagenet-sample", "ILSVRC2012", "ILSVRC/Data/CLS-LOC")
"""Where `find_imagenet` looks under a path, in this order; the last is Kaggle's."""
IMAGENET_LAYOUT = "train/WNID/*.JPEG, and val/WNID/*.JPEG or val/*.JPEG with a file of labels"
WNID = re.compile(r"n[0-9]{8}")
INSIDE = "images"
"""Folder in which Tiny ImageNet keeps the images of a class, and those of `val`."""

FOLDER_PLACES = ("", "folder")
"""Where `find_folder` looks under a path; the second is what a stand-in is called."""
FOLDER_LAYOUT = "train/CLASS/* with test/CLASS/*, val/CLASS/* or validation/CLASS/*; or CLASS/* alone"
TESTS = ("test", "val", "validation")

ONLY = f"only images ({', '.join(KINDS)}) in a class folder"


def find_imagenet(path: Path) -> Path | None:
    """The folder at or under a path whose `train` has folders named by WNIDs (n and eight digits).

    One that cannot be read is answered too, so that `check_imagenet` says why.
    """
    for place in (path / name for name in IMAGENET_PLACES):
        train = place / "train"
        try:
            if _is_folder(train) and any(WNID.fullmatch(entry.name) for entry in _visible(train)):
                return place
        except DataError:
            return place
    return None


def check_imagenet(path: Path) -> None:
    """Refuses a layout that `load_imagenet` would; neither class folders nor labels are read.

    Raises:
        DataError: `train` has no class folders, or `val` has neither class folders nor a file of labels.
    """
    names = _class_names(path / "train", WNID)
    val = _split(path / "val")
    if val is not None and _is_sorted(val):
        _test_names(val, names, WNID)
    elif val is not None:
        label_file(path.absolute())


def load_imagenet(path: Path, subset: Subset) -> ImageSet:
    """Lists ImageNet, or a set in its layout: classes sorted by WNID, and each one's images by name.

    All layouts of `val` give the same images in the same order. A class may be missing in `val`; without `val` the
    test split is empty. Tiny ImageNet's train/WNID/images/*.JPEG is read too.

    Args:
        path: what `find_imagenet` answered.
        subset: which classes, and how many training images of each; other class folders are not listed.

    Raises:
        DataError: see `wanted_classes`, `label_file` and `read_labels`; `train` without class folders, or with images
            beside them; a class folder that is empty, cannot be read, or holds a folder or a file of another kind;
            a class of `val` that is not in `train`.
    """
    root = path.absolute()
    names = _class_names(root / "train", WNID)
    classes = wanted_classes(names, subset)
    val = _split(root / "val")
    if val is None:
        test = _encoded([], np.zeros(0, np.int32))
    elif _is_sorted(val):
        test = _by_class(val, classes, _test_names(val, names, WNID), inside=INSIDE)
    else:
        test = _by_list(label_file(root), val, names, classes)
    return ImageSet(
        name="imagenet",
        train=_by_class(root / "train", classes, names, subset.per_class, inside=INSIDE),
        test=test,
        classes=classes,
        path=str(path),
        synthetic=(root / MARK).is_file(),
        mean=MEAN,
        std=STD,
    )


def find_folder(path: Path) -> Path | None:
    """A path, or `folder` in it, that has a `train` folder or folders with images; None where neither has.

    Like `find_imagenet` it answers one that cannot be read. Many folders look like this: it is for paths that a user
    named for this source, and not for places where any set is looked for.
    """
    for place in (path / name for name in FOLDER_PLACES):
        try:
            if _is_folder(place / "train") or (
                _is_folder(place) and any(_leads_to_folder(entry) and _has_image(entry) for entry in _visible(place))
            ):
                return place
        except DataError:
            return place
    return None


def check_folder(path: Path) -> None:
    """Refuses a layout that `load_folder` would; class folders are not read.

    Raises:
        DataError: no class folders, images beside them, or test classes that are not in `train`.
    """
    train, test = _train_and_test(path)
    names = _class_names(train)
    if test is not None:
        _test_names(test, names)


def load_folder(path: Path, subset: Subset) -> ImageSet:
    """Lists a folder of images by class: classes sorted by name, and each one's images by name.

    PATH/train/CLASS/*, with the first of PATH/test, PATH/val and PATH/validation that has class folders as test
    split; or PATH/CLASS/* with an empty test split, where no class may be called train, test, val or validation.
    A class may be missing in the test split. Mean and deviation are ImageNet's, as weights trained on it expect.

    Args:
        path: what `find_folder` answered.
        subset: which classes, and how many training images of each; other class folders are not listed.

    Raises:
        DataError: see `wanted_classes`; no class folders, or images beside them; a class folder that is empty, cannot
            be read, or holds a folder or a file of another kind; a test class that is not in `train`.
    """
    root = path.absolute()
    train, test = _train_and_test(root)
    names = _class_names(train)
    classes = wanted_classes(names, subset)
    return ImageSet(
        name="folder",
        train=_by_class(train, classes, names, subset.per_class),
        test=_encoded([], np.zeros(0, np.int32))
        if test is None
        else _by_class(test, classes, _test_names(test, names)),
        classes=classes,
        path=str(path),
        synthetic=(root / MARK).is_file(),
        mean=MEAN,
        std=STD,
    )


@dataclass(frozen=True)
class Files:
    """Paths of many files, in 12 bytes each beside their names.

    Attributes:
        folders: that hold them.
        folder: (files,), int32, the place of each one's folder.
        names: their names as the file system spells them, one after the other.
        bounds: (files + 1,), int64, where each name begins and the one before it ends.
    """

    folders: tuple[Path, ...]
    folder: npt.NDArray[np.int32]
    names: bytes
    bounds: npt.NDArray[np.int64]

    def path(self, place: int) -> Path:
        """Where a file is."""
        name = self.names[self.bounds[place] : self.bounds[place + 1]]
        return self.folders[int(self.folder[place])] / os.fsdecode(name)

    def name(self, place: int) -> str:
        """Its path, as it can be printed."""
        return _shown(self.path(place))

    def read(self, places: npt.NDArray[np.int64]) -> list[bytes]:
        """The bytes of each.

        Raises:
            DataError: one is empty, or cannot be read.
        """
        return [_stored(self.path(int(place))) for place in places]


def _stored(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    if not data:
        raise DataError(f"{_shown(path)} is empty (0 bytes)", "an image", "copy it again, or delete it")
    return data


@dataclass(frozen=True)
class _Listed:
    """Images of one folder: their names one after the other, and the length of each in bytes."""

    folder: Path
    names: bytes
    lengths: npt.NDArray[np.int64]


def _listed(folder: Path, names: Sequence[str]) -> _Listed:
    encoded = [os.fsencode(name) for name in names]
    return _Listed(folder, b"".join(encoded), np.array([len(name) for name in encoded], np.int64))


def _encoded(parts: Sequence[_Listed], labels: Labels) -> Encoded:
    lengths = [part.lengths for part in parts]
    files = Files(
        folders=tuple(part.folder for part in parts),
        folder=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in lengths]),
        names=b"".join(part.names for part in parts),
        bounds=np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum(),
    )
    return Encoded(labels, files.read, files.name)


def _by_class(
    split: Path,
    classes: Sequence[str],
    there: Collection[str],
    per_class: int | None = None,
    inside: str | None = None,
) -> Encoded:
    """The images of a split's class folders, class after class; of classes that are not `there`, none."""
    parts, labels, known = [], [np.zeros(0, np.int32)], frozenset(there)
    for label, name in enumerate(classes):
        if name in known:
            folder, images = _images(split / name, inside)
            parts.append(_listed(folder, images[:per_class]))
            labels.append(np.full(len(parts[-1].lengths), label, np.int32))
    return _encoded(parts, np.concatenate(labels))


def _by_list(file: Path, split: Path, names: Sequence[str], classes: Sequence[str]) -> Encoded:
    """The images of a folder without class folders, in the order that `_by_class` would give."""
    folder, images = _images(split, INSIDE)
    wanted = {name: label for label, name in enumerate(classes)}
    label = np.array([wanted.get(name, -1) for name in names], np.int32)
    labels = label[read_labels(file, folder, images, names)]
    order = np.argsort(labels, kind="stable")[np.count_nonzero(labels < 0) :]
    return _encoded([_listed(folder, [images[place] for place in order])], labels[order])


def _images(folder: Path, inside: str | None = None) -> tuple[Path, list[str]]:
    """Where the images of a folder are, and their sorted names.

    Args:
        folder: to list.
        inside: name of a folder in it that may hold the images instead.

    Raises:
        DataError: there are none, or something else is among them.
    """
    names, others = [], []
    for entry in _visible(folder):
        name = entry.name.lower()
        if name.endswith(KINDS) and _may_be_read(entry):
            names.append(entry.name)
        elif not name.endswith(LITTER) or _leads_to_folder(entry):
            others.append(entry)
    if inside is not None and not names and [entry.name for entry in others] == [inside]:
        return _images(folder / inside)
    if others:
        other = min(others, key=lambda entry: entry.name)
        kind = "a folder" if _leads_to_folder(other) else "a file of another kind"
        raise DataError(f"{_shown(other)}: {kind} among images", ONLY, "move or delete it")
    if not names:
        raise DataError(f"no images in {_shown(folder)}", ONLY, "add some, or delete the folder")
    return folder, sorted(names)


def _class_names(split: Path, pattern: re.Pattern[str] | None = None) -> list[str]:
    """The sorted names of a split's class folders.

    Args:
        split: to list.
        pattern: of their names; other folders are passed over. None: all are class folders.

    Raises:
        DataError: there are none, images lie beside them, or one is no folder or cannot be printed.
    """
    names = []
    for entry in _visible(split):
        fits = pattern is None or pattern.fullmatch(entry.name) is not None
        if _leads_to_folder(entry):
            names.extend([entry.name] if fits else [])
        elif entry.name.lower().endswith(KINDS):
            raise DataError(f"{_shown(entry)}: an image beside class folders", "a folder a class", "move or delete it")
        elif _leads_nowhere(entry) or (fits and pattern is not None):
            raise DataError(f"{_shown(entry)} leads to no folder", "a folder a class", "copy or link it again")
    if not names:
        like = "" if pattern is None else ", named by their WNIDs (n and eight digits)"
        raise DataError(f"no class folders in {_shown(split)}", f"a folder a class{like}", "copy the set again")
    for name in names:
        if _shown(Path(name)) != name:
            raise DataError(f"class folder {_shown(split / name)}", "a name in UTF-8", "rename it")
    return sorted(names)


def _test_names(split: Path, train: Sequence[str], pattern: re.Pattern[str] | None = None) -> list[str]:
    """As `_class_names`, and all of them classes of `train`."""
    names = _class_names(split, pattern)
    strange = sorted(set(names).difference(train))
    if strange:
        raise DataError(
            f"{split / strange[0]}: a class without training images",
            f"classes of train, as {', '.join(train[:3])}",
            "delete it, or add the class to train; data.classes chooses some classes of a set",
        )
    return names


def _train_and_test(root: Path) -> tuple[Path, Path | None]:
    """The folder with the class folders to train on, and the one to test on."""
    if not _has_folder(root / "train"):
        for name in ("train", *TESTS):
            if _is_folder(root / name):
                told = "without class folders" if name == "train" else "without a train beside it"
                raise DataError(
                    f"{_shown(root / name)} {told}", FOLDER_LAYOUT, f"if {name} is a class, move all classes into train"
                )
        return root, None
    tests = [split for split in (_split(root / name) for name in TESTS) if split is not None]
    for split in tests:
        if _has_folder(split):
            return root / "train", split
    if tests:
        raise DataError(f"{_shown(tests[0])} without class folders", FOLDER_LAYOUT, "sort its images, or rename it")
    return root / "train", None


def _is_sorted(val: Path) -> bool:
    """Whether ImageNet's `val` has class folders; it is listed up to the first of them or of the images."""
    for entry in _visible(val):
        if WNID.fullmatch(entry.name):
            return True
        if entry.name == INSIDE or entry.name.lower().endswith(KINDS):
            return False
    return False


def _split(path: Path) -> Path | None:
    """A folder that need not be there, but is a folder if it is."""
    if _is_folder(path):
        return path
    if os.path.lexists(path):
        raise DataError(f"{_shown(path)} leads to no folder", "a folder of images", "copy or link it again")
    return None


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What a folder holds, in the file system's order, without what is hidden."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise _unreadable(folder, error) from None


def _has_folder(folder: Path) -> bool:
    return _is_folder(folder) and any(_leads_to_folder(entry) for entry in _visible(folder))


def _has_image(folder: os.DirEntry[str]) -> bool:
    return any(entry.name.lower().endswith(KINDS) for entry in _visible(Path(folder)))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise _unreadable(path, error) from None


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; False for a link that leads nowhere or in a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link to nothing, or in a circle."""
    try:
        return entry.is_symlink() and not Path(entry).exists()
    except OSError:
        return True


def _may_be_read(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a link; a link is followed when it is read, for that takes a call each."""
    try:
        return entry.is_symlink() or entry.is_file()
    except OSError:
        return True


def _unreadable(path: Path, error: OSError) -> DataError:
    told = f"{_shown(path)}: {error.strerror or error}"
    return DataError(told, "one that is there and may be read", "copy it again; check links and permissions")


def _shown(path: Path | os.DirEntry[str]) -> str:
    """A path that can be printed, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
