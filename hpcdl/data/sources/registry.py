"""The data sets by name, and where they are looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hpcdl.config.schema import DataConfig
from hpcdl.data.images import ImageSet
from hpcdl.data.shards import manifest, reader
from hpcdl.data.sources import arrays, cifar, folder, folder_synth, idx, imagenet, synth
from hpcdl.data.sources.random_pixels import random_images
from hpcdl.data.subset import Subset, narrow
from hpcdl.errors import DataError


@dataclass(frozen=True)
class Source:
    """How a data set is found, read and imitated."""

    summary: str
    layout: str
    find: Callable[[Path], Path | None]
    """The set in or at a path that a user named for it."""
    check: Callable[[Path], None]
    """Cheap: refuses missing and truncated files before anything starts."""
    load: Callable[[Path, Subset], ImageSet]
    """Raises DataError where something is missing, damaged, or labelled wrongly."""
    synthesize: Callable[[Path, int, int, int], Path]
    """(folder, training images, test images, seed) -> what `find` answers for that folder."""
    counts: tuple[int, int]
    """Training and test images of a stand-in if nobody says how many: as many as a real set has."""
    search: Callable[[Path], Path | None] | None = None
    """The set in a folder that may hold any sets; None: as `find`."""


def _mnist(kind: idx.Kind, shown: str) -> Source:
    plain, torchvision = kind.folders
    return Source(
        summary=f"60,000 + 10,000 grey images of {shown}, 28 x 28 pixels in 10 classes",
        layout=f"{plain}/ or {torchvision}/ with the four official IDX files, plain or .gz",
        find=partial(idx.find, kind=kind),
        check=partial(idx.check, kind=kind),
        load=lambda path, subset: narrow(idx.load(path, kind), subset),
        synthesize=partial(synth.mnist, kind=kind),
        counts=(60_000, 10_000),
        search=partial(idx.search, kind=kind),
    )


def _cifar(kind: cifar.Kind) -> Source:
    binary, python = kind.binary, kind.python
    return Source(
        summary=f"50,000 + 10,000 colour images of 32 x 32 pixels in {len(kind.classes)} classes",
        layout=f"{binary.folder}/ or {binary.archive}, the official binary version, or {python.folder}/ or "
        f"{python.archive}, the Python version",
        find=partial(cifar.find, kind=kind),
        check=partial(cifar.check, kind=kind),
        load=lambda path, subset: narrow(cifar.load(path, kind), subset),
        synthesize=partial(synth.cifar, kind=kind),
        counts=(50_000, 10_000),
        search=partial(cifar.search, kind=kind),
    )


def _or_prepared(name: str, source: Source) -> Source:
    """The same source, which also knows the shards that `hpcdl data prepare` has written of it."""

    def prepared(path: Path) -> bool:
        return manifest.find(path) is not None and manifest.read_manifest(path).source == name

    def looking(found: Callable[[Path], Path | None]) -> Callable[[Path], Path | None]:
        return lambda path: path if prepared(path) else found(path)

    return replace(
        source,
        layout=f"{source.layout}; or what `hpcdl data prepare {name}` wrote",
        find=looking(source.find),
        check=lambda path: manifest.check(path) if prepared(path) else source.check(path),
        load=lambda path, subset: reader.load(path, subset) if prepared(path) else source.load(path, subset),
        search=looking(source.search or source.find),
    )


PLAIN = {
    "mnist": _mnist(idx.MNIST, "handwritten digits"),
    "fashion-mnist": _mnist(idx.FASHION_MNIST, "clothes"),
    "cifar10": _cifar(cifar.CIFAR10),
    "cifar100": _cifar(cifar.CIFAR100),
    "npz": Source(
        summary="your own images in memory, grey or colour, all of one size",
        layout="FILE.npz, or a folder with exactly one, that holds x_train, y_train, x_test and y_test",
        find=arrays.find,
        check=arrays.check,
        load=lambda path, subset: narrow(arrays.load(path), subset),
        synthesize=synth.npz,
        counts=(10_000, 2_000),
    ),
    "imagenet": Source(
        summary="photographs of any size in folders by class: the full set, 1.28 million in 1,000 classes, or a part",
        layout=imagenet.LAYOUT,
        find=imagenet.find,
        check=imagenet.check,
        load=imagenet.load,
        synthesize=folder_synth.synthesize_imagenet,
        counts=(1_000, 200),
    ),
    "folder": Source(
        summary="your own images of any size, in folders by class",
        layout=folder.LAYOUT,
        find=folder.find,
        check=folder.check,
        load=folder.load,
        synthesize=folder_synth.synthesize_folder,
        counts=(1_000, 200),
        search=lambda path: None,  # nearly any folder of albums looks like one
    ),
}
SOURCES = {name: _or_prepared(name, source) for name, source in PLAIN.items()}


Place = tuple[str, str | None]
"""What the user calls a place, and its path if there is one."""


def locate(source: str, named: Sequence[Place], search: Sequence[Place]) -> Path:
    """The first place that holds a data set.

    Args:
        source: a key of SOURCES.
        named: places that a user chose for this set; one that does not hold it is an error.
        search: folders that may hold any sets.

    Raises:
        DataError: a named place does not hold the set, or no place does.
    """
    entry = SOURCES[source]
    mend = f"put {entry.layout} there, or make a stand-in with `hpcdl data synth {source} --out data`"
    for looks, places in ((entry.find, named), (entry.search or entry.find, search)):
        for label, path in places:
            found = None if path is None else _look(looks, label, path)
            if found is not None:
                return found
            if path is not None and places is named:
                raise DataError(f"no {source} in {label} {path}", entry.layout, mend)
    looked = ", ".join(f"{label} {path or 'not set'}" for label, path in (*named, *search))
    raise DataError(f"no {source} data (looked at {looked})", entry.layout, mend)


def load(config: DataConfig, path: Path) -> ImageSet:
    """The part of a data set that a recipe wants; with data.synthetic random pixels, and `path` is not looked at.

    Raises:
        ConfigError: see `random_images`.
        DataError: something is missing or damaged, or a class is not there.
    """
    if config.synthetic:
        return random_images(config)
    classes = tuple(config.classes) if isinstance(config.classes, list) else config.classes
    return SOURCES[config.source].load(path, Subset(classes, config.per_class))


def _look(find: Callable[[Path], Path | None], label: str, path: str) -> Path | None:
    try:
        return find(Path(path).expanduser())
    except (OSError, RuntimeError) as error:
        told = getattr(error, "strerror", None) or error
        raise DataError(f"{label} {path}: {told}", "a path that can be read", f"correct {label}") from None
