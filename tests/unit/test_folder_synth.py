"""Stand-ins for ImageNet and folders: in the layout, learnable, repeatable, and never half-written."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hpcdl.data.images import Encoded, ImageSet, Split
from hpcdl.data.inspect_images import damaged
from hpcdl.data.sources.folder import find as find_folder
from hpcdl.data.sources.folder import load as load_folder
from hpcdl.data.sources.folder_synth import synthesize_folder, synthesize_imagenet
from hpcdl.data.sources.imagenet import find as find_imagenet
from hpcdl.data.sources.imagenet import load as load_imagenet
from hpcdl.data.subset import ALL, Subset
from hpcdl.errors import DataError

Synthesize = Callable[[Path, int, int, int], Path]
Find = Callable[[Path], Path | None]
Load = Callable[[Path, Subset], ImageSet]
BOTH = pytest.mark.parametrize(
    ("synthesize", "find", "load"),
    [(synthesize_imagenet, find_imagenet, load_imagenet), (synthesize_folder, find_folder, load_folder)],
)


def decode(split: Split) -> list[Image.Image]:
    assert isinstance(split, Encoded)
    return [Image.open(io.BytesIO(data)) for data in split.read(np.arange(len(split)))]


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@BOTH
def test_a_stand_in_is_found_loaded_and_marked(tmp_path: Path, synthesize: Synthesize, find: Find, load: Load) -> None:
    root = synthesize(tmp_path / "data", 23, 12, 1)
    assert find(tmp_path / "data") == find(root) == root
    data = load(root, ALL)
    assert data.synthetic and data.origin.startswith("synthetic")
    assert len(data.classes) == 10
    assert np.bincount(data.train.labels).tolist() == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
    assert np.bincount(data.test.labels).tolist() == [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert isinstance(data.train, Encoded) and damaged(data.train, range(23)) == []
    assert [path.name for path in (tmp_path / "data").iterdir()] == [root.name]


@pytest.mark.parametrize(
    ("synthesize", "load", "width", "height"),
    [
        (synthesize_imagenet, load_imagenet, 500, 375),
        (synthesize_folder, load_folder, 64, 48),
    ],
)
def test_sizes_vary_around_the_usual(
    tmp_path: Path, synthesize: Synthesize, load: Load, width: int, height: int
) -> None:
    images = decode(load(synthesize(tmp_path, 20, 0, 0), ALL).train)
    sizes = np.array([image.size for image in images])
    assert all(image.mode == "RGB" and image.format == "JPEG" for image in images)
    assert len(set(map(tuple, sizes.tolist()))) > 10
    assert (np.abs(sizes / (width, height) - 1) <= 0.26).all()
    assert (np.abs(sizes.mean(0) / (width, height) - 1) < 0.15).all()


@BOTH
def test_equal_arguments_give_equal_bytes(tmp_path: Path, synthesize: Synthesize, find: Find, load: Load) -> None:
    first = content(synthesize(tmp_path / "a", 12, 3, 5))
    assert content(synthesize(tmp_path / "b", 12, 3, 5)) == first
    other = content(synthesize(tmp_path / "c", 12, 3, 6))
    assert other.keys() == first.keys()
    assert not any(other[name] == data for name, data in first.items())
    images = {name: data for name, data in first.items() if not name.endswith(".json")}
    assert len(set(images.values())) == 15
    # Not only the patterns, but what befalls each image has the seed in it.
    assert any(Image.open(io.BytesIO(images[name])).size != Image.open(io.BytesIO(other[name])).size for name in images)


@BOTH
def test_a_stand_in_can_be_learned(tmp_path: Path, synthesize: Synthesize, find: Find, load: Load) -> None:
    """The nearest class mean is right far more often than chance."""

    def pixels(split: Split) -> npt.NDArray[np.float64]:
        return np.stack([np.asarray(image.resize((16, 12)), float).ravel() for image in decode(split)])

    data = load(synthesize(tmp_path, 100, 50, 0), ALL)
    train, test = pixels(data.train), pixels(data.test)
    means = np.stack([train[data.train.labels == label].mean(0) for label in range(10)])
    nearest = np.argmin(((test[:, None] - means[None]) ** 2).sum(-1), axis=1)
    assert (nearest == data.test.labels).mean() > 0.5


@BOTH
def test_few_images_make_fewer_classes(tmp_path: Path, synthesize: Synthesize, find: Find, load: Load) -> None:
    data = load(synthesize(tmp_path, 3, 0, 0), ALL)
    assert data.train.labels.tolist() == [0, 1, 2] and len(data.classes) == 3 and len(data.test) == 0


def test_class_names_are_invented_wnids(tmp_path: Path) -> None:
    data = load_imagenet(synthesize_imagenet(tmp_path, 10, 0, 0), ALL)
    assert data.classes == tuple(f"n{number:08}" for number in range(1, 11))


@BOTH
def test_a_stand_in_is_never_written_over_data(tmp_path: Path, synthesize: Synthesize, find: Find, load: Load) -> None:
    root = synthesize(tmp_path, 2, 1, 0)
    before = content(tmp_path)
    for out in (tmp_path, root):  # where it would lie, and a set itself
        with pytest.raises(DataError, match="exists"):
            synthesize(out, 3, 1, 0)
    assert content(tmp_path) == before


@BOTH
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    synthesize: Synthesize,
    find: Find,
    load: Load,
    error: BaseException,
) -> None:
    real, saved = Image.Image.save, []

    def full(image: Image.Image, path: Path, *arguments: object, **options: object) -> None:
        saved.append(path)
        if len(saved) == 5:
            raise error
        real(image, path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DataError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        synthesize(tmp_path, 10, 1, 0)
    assert not isinstance(error, OSError) or "No space left" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_arguments_that_make_no_set(tmp_path: Path, synthesize: Synthesize, find: Find, load: Load) -> None:
    for train, test, seed in ((0, 1, 0), (1, -1, 0), (1, 1, -1)):
        with pytest.raises(DataError):
            synthesize(tmp_path / "out", train, test, seed)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        synthesize(tmp_path / "file", 1, 1, 0)
