"""Folders of images: every layout gives the images it should, in one order, and every defect is named."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpcdl.data.images import Encoded, ImageSet, Split
from hpcdl.data.sources.folder import check as check_folder
from hpcdl.data.sources.folder import find as find_folder
from hpcdl.data.sources.folder import load as load_folder
from hpcdl.data.sources.imagenet import check as check_imagenet
from hpcdl.data.sources.imagenet import find as find_imagenet
from hpcdl.data.sources.imagenet import load as load_imagenet
from hpcdl.data.sources.stored import Files
from hpcdl.data.subset import ALL, Subset
from hpcdl.errors import DataError

A, B, C, D = "n00000010", "n00000020", "n00000030", "n00000040"
TRAIN = [f"train/{wnid}/{wnid}_{number}.JPEG" for wnid in (A, B, C) for number in (1, 10, 2)]
"""As they should be listed: sorted as strings."""
VAL = {f"ILSVRC2012_val_0000000{number}.JPEG": wnid for number, wnid in enumerate((C, A, B, A), start=1)}
BY_CLASS = [f"{wnid}/{name}" for wnid in (A, B, C) for name, of in VAL.items() if of == wnid]


def put(root: Path, *names: str) -> Path:
    """Writes a PNG or JPEG under each name, in a shuffled order; its one colour comes from its name."""
    for name in random.Random(len(names)).sample(names, len(names)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(name))
    return root


def image(name: str) -> bytes:
    buffer = io.BytesIO()
    colour = tuple(random.Random(Path(name).name).randbytes(3))
    Image.new("RGB", (4, 3), colour).save(buffer, "PNG" if name.lower().endswith(".png") else "JPEG")
    return buffer.getvalue()


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def names(split: Split, root: Path) -> list[str]:
    assert isinstance(split, Encoded)
    return [Path(split.name(place)).relative_to(root).as_posix() for place in range(len(split))]


def read(split: Split, *places: int) -> list[bytes]:
    assert isinstance(split, Encoded)
    return split.read(np.array(places, np.int64))


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are listed, as they are listed; each comes in a shuffled order."""
    listed: list[str] = []
    real = os.scandir

    class Shuffled:
        def __init__(self, path: str | os.PathLike[str]) -> None:
            listed.append(os.fspath(path))
            with real(path) as entries:
                self.entries = list(entries)
            random.Random(len(listed)).shuffle(self.entries)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self.entries)

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Shuffled)
    return listed


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Three classes with three training images each, without `val`."""
    return put(tmp_path / "set", *TRAIN)


def refused(load: Callable[[Path, Subset], ImageSet], root: Path, *told: str, subset: Subset = ALL) -> DataError:
    with pytest.raises(DataError) as caught:
        load(root, subset)
    for words in told:
        assert words in str(caught.value)
    return caught.value


# ImageNet: where it is, and its training images


@pytest.mark.parametrize("place", ["", "imagenet", "imagenet-sample", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"])
def test_imagenet_is_found_where_it_is_usually_unpacked(tmp_path: Path, place: str) -> None:
    put(tmp_path / place, *TRAIN)
    assert find_imagenet(tmp_path) == tmp_path / place


def test_imagenet_is_not_found_without_class_folders_named_by_wnids(tmp_path: Path) -> None:
    for name in ("empty/train/.keep", "other/train/cat/1.jpg", "more/train/n0000001/1.jpg", "last/n00000010/1.jpg"):
        put(tmp_path, name)
        assert find_imagenet(tmp_path / name.split("/")[0]) is None
    assert find_imagenet(tmp_path / "nowhere") is None
    assert find_imagenet(tmp_path / "other/train/cat/1.jpg") is None


def test_classes_and_images_are_sorted_whatever_the_file_system_says(imagenet: Path, scanned: list[str]) -> None:
    for _ in range(5):
        data = load_imagenet(imagenet, ALL)
        assert data.classes == (A, B, C)
        assert names(data.train, imagenet) == TRAIN
        assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert data.train.labels.dtype == np.int32
    assert len(data.test) == 0 and data.test.labels.dtype == np.int32
    assert not data.synthetic and data.origin == "real imagenet: 9 training and 0 test images"
    assert (data.mean, data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    write(imagenet / "synthetic.json", "{}")
    assert load_imagenet(imagenet, ALL).synthetic


def test_the_bytes_of_the_places_that_were_asked_for(imagenet: Path) -> None:
    train = load_imagenet(imagenet, ALL).train
    assert read(train, 7, 0, 7, 4) == [image(TRAIN[place]) for place in (7, 0, 7, 4)]
    assert read(train) == []


def test_reading_does_not_depend_on_the_working_folder(
    imagenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(imagenet.parent)
    train = load_imagenet(Path("set"), ALL).train
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read(train, 3) == [image(TRAIN[3])]


def test_a_subset_has_its_own_labels_and_lists_only_its_classes(imagenet: Path, scanned: list[str]) -> None:
    put(imagenet, f"val/{A}/1.JPEG", f"val/{B}/2.JPEG", f"val/{B}/3.JPEG", f"val/{C}/4.JPEG")
    (imagenet / f"train/{B}/broken").mkdir()  # would be an error
    (imagenet / f"val/{B}/broken").mkdir()
    data = load_imagenet(imagenet, Subset(classes=(C, A), per_class=2))
    assert data.classes == (C, A)
    assert names(data.train, imagenet) == [*TRAIN[6:8], *TRAIN[0:2]]
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert names(data.test, imagenet) == [f"val/{C}/4.JPEG", f"val/{A}/1.JPEG"]
    assert data.test.labels.tolist() == [0, 1]
    assert not any(B in path for path in scanned)
    listed = [path for path in scanned if path.endswith((A, C))]
    assert len(listed) == len(set(listed)) == 4  # one listing a class and split


def test_the_first_classes_and_a_class_that_is_not_there(imagenet: Path) -> None:
    assert load_imagenet(imagenet, Subset(classes=2)).classes == (A, B)
    refused(load_imagenet, imagenet, "data.classes=4 of a set with 3", subset=Subset(classes=4))
    refused(load_imagenet, imagenet, f"no class '{D}'", subset=Subset(classes=(A, D)))


def test_folders_that_are_no_wnid_are_passed_over(imagenet: Path) -> None:
    (imagenet / "train/lost+found").mkdir()
    write(imagenet / "train/README", "about")
    assert load_imagenet(imagenet, ALL).classes == (A, B, C)


def test_tiny_imagenets_own_folder_of_images(tmp_path: Path, imagenet: Path) -> None:
    root = put(tmp_path / "tiny", *(f"train/{wnid}/images/{wnid}_0.JPEG" for wnid in (B, A)), "val/images/val_1.JPEG")
    write(root / f"train/{A}/{A}_boxes.txt", "boxes")
    write(root / "val/val_annotations.txt", f"val_1.JPEG\t{B}\t0\t32\t44\t62")
    data = load_imagenet(root, ALL)
    assert names(data.train, root) == [f"train/{A}/images/{A}_0.JPEG", f"train/{B}/images/{B}_0.JPEG"]
    assert names(data.test, root) == ["val/images/val_1.JPEG"] and data.test.labels.tolist() == [1]
    put(root, f"train/{B}/images/images/{B}_1.JPEG")
    refused(load_imagenet, root, f"train/{B}/images/images: a folder")
    (root / f"train/{B}/images/{B}_0.JPEG").unlink()  # nor is it looked for any deeper
    refused(load_imagenet, root, f"train/{B}/images/images: a folder")
    put(root, f"train/{A}/boxes/{A}_1.JPEG")
    refused(load_imagenet, root, f"train/{A}/boxes: a folder")
    (imagenet / f"train/{A}/images").mkdir()
    refused(load_imagenet, imagenet, f"train/{A}/images: a folder")


# ImageNet: its validation images


def tiny(root: Path, rows: dict[str, str]) -> Path:
    return _listing(root / "val/val_annotations.txt", [f"{name}\t{wnid}\t0\t0\t9\t9" for name, wnid in rows.items()])


def tiny_outside(root: Path, rows: dict[str, str]) -> Path:
    return _listing(root / "val_annotations.txt", [f"{name}\t{wnid}" for name, wnid in rows.items()])


def solution(root: Path, rows: dict[str, str]) -> Path:
    boxes = [f"{name.removesuffix('.JPEG')},{wnid} 85 1 499 272 {D} 1 2 3 4 " for name, wnid in rows.items()]
    return _listing(root / "LOC_val_solution.csv", ["ImageId,PredictionString", *boxes])


def solution_beside(root: Path, rows: dict[str, str]) -> Path:
    return solution(root.parent, rows)


def indexed(root: Path, rows: dict[str, str]) -> Path:
    return _listing(root / "val.txt", [f"{name} {(A, B, C, D).index(wnid)}" for name, wnid in rows.items()])


def _listing(path: Path, lines: list[str]) -> Path:
    write(path, *lines)
    return path


Listing = Callable[[Path, dict[str, str]], Path]
LISTINGS = pytest.mark.parametrize("listing", [tiny, tiny_outside, solution, solution_beside, indexed])


@LISTINGS
def test_a_flat_val_gives_what_class_folders_give(imagenet: Path, listing: Listing, scanned: list[str]) -> None:
    put(imagenet, *(f"val/{name}" for name in VAL))
    listing(imagenet, dict(random.Random(0).sample(list(VAL.items()), len(VAL))))
    check_imagenet(imagenet)
    test = load_imagenet(imagenet, ALL).test
    assert names(test, imagenet / "val") == [name.split("/")[1] for name in BY_CLASS]
    assert test.labels.tolist() == [0, 0, 1, 2]
    assert read(test, 3) == [image("ILSVRC2012_val_00000001.JPEG")]
    chosen = load_imagenet(imagenet, Subset(classes=(C, A), per_class=1)).test
    assert names(chosen, imagenet / "val") == [BY_CLASS[place].split("/")[1] for place in (3, 0, 1)]
    assert chosen.labels.tolist() == [0, 1, 1]


def test_val_in_class_folders(imagenet: Path, scanned: list[str]) -> None:
    put(imagenet, *(f"val/{name}" for name in BY_CLASS))
    indexed(imagenet, {"unlike.JPEG": D})  # is not looked at
    check_imagenet(imagenet)
    test = load_imagenet(imagenet, ALL).test
    assert names(test, imagenet / "val") == BY_CLASS
    assert test.labels.tolist() == [0, 0, 1, 2]


def test_kaggles_solution_above_its_three_folders(tmp_path: Path) -> None:
    root = put(tmp_path / "ILSVRC/Data/CLS-LOC", *TRAIN, "val/ILSVRC2012_val_00000001.JPEG")
    write(tmp_path / "LOC_val_solution.csv", f"ILSVRC2012_val_00000001,{C} 1 2 3 4")
    assert find_imagenet(tmp_path) == root
    assert load_imagenet(root, ALL).test.labels.tolist() == [2]


def test_the_first_of_several_lists_counts(imagenet: Path) -> None:
    put(imagenet, "val/1.JPEG")
    for listing, wnid, label in ((indexed, A, 0), (solution, B, 1), (tiny_outside, C, 2), (tiny, A, 0)):
        listing(imagenet, {"1.JPEG": wnid})
        assert load_imagenet(imagenet, ALL).test.labels.tolist() == [label]


def test_a_list_as_other_editors_write_it(imagenet: Path) -> None:
    put(imagenet, "val/1.JPEG", "val/2.JPEG")
    (imagenet / "val.txt").write_bytes(b"\xef\xbb\xbf1.JPEG 0\r\n\r\n2.JPEG   2")
    assert load_imagenet(imagenet, ALL).test.labels.tolist() == [0, 2]


def test_a_flat_val_without_labels_says_which_files_are_accepted(imagenet: Path) -> None:
    put(imagenet, *(f"val/{name}" for name in VAL))
    write(imagenet / "ILSVRC2012_validation_ground_truth.txt", "490", "361", "171", "822")
    told = ("val_annotations.txt", "LOC_val_solution.csv", "val.txt", "meta.mat", "ILSVRC2012_validation_ground_truth")
    refused(load_imagenet, imagenet, str(imagenet / "val"), *told)
    with pytest.raises(DataError, match=r"LOC_val_solution\.csv"):
        check_imagenet(imagenet)


@LISTINGS
def test_a_label_outside_of_the_classes_is_named_with_its_line(imagenet: Path, listing: Listing) -> None:
    put(imagenet, *(f"val/{name}" for name in VAL))
    file = listing(imagenet, {**VAL, "ILSVRC2012_val_00000003.JPEG": D})
    line = 4 if file.suffix == ".csv" else 3
    for subset in (ALL, Subset(classes=1)):
        refused(load_imagenet, imagenet, f"{file}, line {line}: label", "ILSVRC2012_val_00000003", subset=subset)


@pytest.mark.parametrize("label", ["-1", "3", "1.0", "x", "１"])
def test_a_label_that_is_no_place_in_the_classes_is_refused(imagenet: Path, label: str) -> None:
    put(imagenet, "val/1.JPEG")
    write(imagenet / "val.txt", f"1.JPEG {label}")
    refused(load_imagenet, imagenet, f"val.txt, line 1: label '{label}'", "0 to 2")


@LISTINGS
def test_listed_and_missing_or_there_and_not_listed_or_listed_twice(imagenet: Path, listing: Listing) -> None:
    put(imagenet, *(f"val/{name}" for name in VAL))
    file = listing(imagenet, {**VAL, "ILSVRC2012_val_00000009.JPEG": A})
    line = len(VAL) + (2 if file.suffix == ".csv" else 1)
    told = (f"{file}, line {line}:", f"{imagenet}/val/ILSVRC2012_val_00000009", "not there")
    for subset in (ALL, Subset(classes=(B,))):
        refused(load_imagenet, imagenet, *told, subset=subset)
    missing = "ILSVRC2012_val_00000002.JPEG"
    listing(imagenet, {name: wnid for name, wnid in VAL.items() if name != missing})
    refused(load_imagenet, imagenet, f"{imagenet}/val/{missing} has no line in {file}")
    listing(imagenet, VAL)
    file.write_text(file.read_text() + file.read_text().split("\n")[1])
    refused(load_imagenet, imagenet, f"{file}, line {line}:", "second time")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("val_annotations.txt", f"1.JPEG {A}"),
        ("LOC_val_solution.csv", f"1 {A}"),
        ("LOC_val_solution.csv", "1,"),
        ("LOC_val_solution.csv", f"1,{A},2"),
        ("val.txt", "1.JPEG"),
    ],
)
def test_a_line_of_another_kind_is_named(imagenet: Path, file: str, line: str) -> None:
    put(imagenet, "val/1.JPEG")
    write(imagenet / file, line)
    refused(load_imagenet, imagenet, f"{imagenet / file}, line 1: {line!r}")


def test_a_list_that_cannot_be_read(imagenet: Path) -> None:
    put(imagenet, "val/1.JPEG")
    (imagenet / "val.txt").write_bytes(b"1.JPEG \xff\n")
    refused(load_imagenet, imagenet, f"{imagenet}/val.txt is not text")


def test_a_name_that_kaggles_list_leaves_open(imagenet: Path) -> None:
    put(imagenet, "val/1.JPEG", "val/1.png")
    solution(imagenet, {"1.JPEG": A})
    refused(load_imagenet, imagenet, f"{imagenet}/val/1.png beside 1.JPEG")


def test_images_and_folders_that_do_not_belong_into_val(imagenet: Path) -> None:
    put(imagenet, f"val/{A}/1.JPEG", "val/2.JPEG")
    tiny_outside(imagenet, {"2.JPEG": A})
    refused(load_imagenet, imagenet, str(imagenet / "val"))  # in both ways at once
    (imagenet / "val/2.JPEG").unlink()
    put(imagenet, f"val/{D}/3.JPEG")
    refused(load_imagenet, imagenet, f"{imagenet}/val/{D}: a class without training images")
    with pytest.raises(DataError, match=D):
        check_imagenet(imagenet)


def test_val_that_is_empty_or_no_folder(imagenet: Path) -> None:
    (imagenet / "val").mkdir()
    refused(load_imagenet, imagenet, "without class folders")
    write(imagenet / "val.txt")
    refused(load_imagenet, imagenet, f"no images in {imagenet}/val")
    (imagenet / "val").rmdir()
    (imagenet / "val").symlink_to("nowhere")
    refused(load_imagenet, imagenet, f"{imagenet}/val leads to no folder")


# What may be in a class folder, for both sources

BOTH = pytest.mark.parametrize("load", [load_imagenet, load_folder])


@BOTH
def test_every_accepted_extension_in_any_case_and_known_litter(
    imagenet: Path, load: Callable[[Path, Subset], ImageSet]
) -> None:
    kinds = ["a.jpeg", "b.JPG", "c.PnG", "d.bmp", "e.GIF"]
    put(imagenet, *(f"train/{D}/{name}" for name in kinds))
    litter = (".DS_Store", "._a.jpeg", "Thumbs.db", "list.TXT", "boxes.xml", "l.csv", "l.json", ".hidden/1.jpg")
    for name in litter:
        write(imagenet / "train" / D / name, "litter")
    write(imagenet / "train/.hidden/1.jpg", "litter")
    data = load(imagenet, Subset(classes=(D,)))
    assert names(data.train, imagenet / "train" / D) == kinds


@BOTH
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("more/1.jpg", "more: a folder"),
        ("more.jpg/1.jpg", "more.jpg: a folder"),
        ("more.json/1.jpg", "more.json: a folder"),
        ("1.webp", "1.webp: a file of another kind"),
        ("1.jpg.part", "1.jpg.part: a file of another kind"),
    ],
)
def test_a_folder_or_another_file_in_a_class_folder_is_named(
    imagenet: Path, load: Callable[[Path, Subset], ImageSet], name: str, told: str
) -> None:
    put(imagenet, f"train/{B}/{name}")
    refused(load, imagenet, f"{imagenet}/train/{B}/{told}")


@BOTH
def test_an_empty_class_folder_is_named_where_it_is_wanted(
    imagenet: Path, load: Callable[[Path, Subset], ImageSet]
) -> None:
    write(imagenet / f"train/{D}/only.txt", "no image")
    refused(load, imagenet, f"no images in {imagenet}/train/{D}")
    assert len(load(imagenet, Subset(classes=3)).train) == 9


@BOTH
def test_a_folder_that_cannot_be_read_is_named(
    imagenet: Path, load: Callable[[Path, Subset], ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def closed(path: str | os.PathLike[str]) -> object:
        if os.fspath(path) == str(shut):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)
    for shut in (imagenet / "train" / B, imagenet / "train"):
        refused(load, imagenet, f"{shut}: Permission denied")
    # An unreadable set is found, so that the reason is told and not "no such set".
    assert find_imagenet(imagenet) == find_folder(imagenet) == imagenet
    shut = imagenet
    (imagenet / "train").rename(imagenet / "pets")
    assert find_folder(imagenet) == imagenet


@BOTH
def test_a_class_that_is_no_folder_or_leads_nowhere(imagenet: Path, load: Callable[[Path, Subset], ImageSet]) -> None:
    (imagenet / "train" / D).symlink_to(imagenet / "nowhere")
    refused(load, imagenet, f"{imagenet}/train/{D} leads to no folder")
    (imagenet / "train" / D).unlink()
    (imagenet / "train" / D).symlink_to(D)
    refused(load, imagenet, f"{imagenet}/train/{D} leads to no folder")
    (imagenet / "train" / D).unlink()
    write(imagenet / "train" / D, "a file")
    if load is load_imagenet:
        refused(load, imagenet, f"{imagenet}/train/{D} leads to no folder")
    else:
        assert load(imagenet, ALL).classes == (A, B, C)


@BOTH
def test_images_beside_class_folders_are_named(imagenet: Path, load: Callable[[Path, Subset], ImageSet]) -> None:
    put(imagenet, "train/stray.jpg")
    refused(load, imagenet, f"{imagenet}/train/stray.jpg")


@BOTH
def test_links_to_folders_and_images_are_followed(
    imagenet: Path, tmp_path: Path, load: Callable[[Path, Subset], ImageSet]
) -> None:
    linked = tmp_path / "linked"
    (linked / "train" / B).mkdir(parents=True)
    (linked / "train" / A).symlink_to(imagenet / "train" / A)
    (linked / "train" / B / "x.JPEG").symlink_to(imagenet / TRAIN[4])
    train = load(linked, ALL).train
    assert names(train, linked) == [*TRAIN[:3], f"train/{B}/x.JPEG"]
    assert read(train, 0, 3) == [image(TRAIN[0]), image(TRAIN[4])]


@BOTH
def test_an_image_that_is_gone_empty_or_a_broken_link_is_named_when_it_is_read(
    imagenet: Path, load: Callable[[Path, Subset], ImageSet]
) -> None:
    (imagenet / f"train/{C}/z.jpg").symlink_to("nowhere.jpg")
    (imagenet / f"train/{C}/zz.jpg").symlink_to(".")
    train = load(imagenet, ALL).train
    (imagenet / TRAIN[2]).unlink()
    (imagenet / TRAIN[5]).write_bytes(b"")
    for place, told in (
        (2, f"{TRAIN[2]}: No such file"),
        (5, f"{TRAIN[5]} is empty"),
        (9, f"train/{C}/z.jpg: No such file"),
        (10, f"train/{C}/zz.jpg: Is a directory"),
    ):
        with pytest.raises(DataError) as caught:
            read(train, 0, place, 1)
        assert f"{imagenet}/{told}" in caught.value.received
    assert read(train, 0, 1) == [image(TRAIN[0]), image(TRAIN[1])]


def test_names_of_any_bytes(tmp_path: Path) -> None:
    odd = b"caf\xe9.jpg"  # Latin-1
    put(tmp_path, "train/zürich/Straße 1.jpg", "train/äpfel/日本.jpg")
    (Path(os.fsdecode(os.fsencode(tmp_path / "train/äpfel") + b"/" + odd))).write_bytes(image("odd.jpg"))
    data = load_folder(tmp_path, ALL)
    assert data.classes == ("zürich", "äpfel")
    assert isinstance(data.train, Encoded)
    assert data.train.name(0).endswith("/zürich/Straße 1.jpg")
    assert sorted(read(data.train, 1, 2)) == sorted([image("日本.jpg"), image("odd.jpg")])
    assert any("caf\\xe9.jpg" in data.train.name(place) for place in (1, 2))  # printable
    Path(os.fsdecode(os.fsencode(tmp_path / "train") + b"/\xff")).mkdir()
    refused(load_folder, tmp_path, "\\xff", "UTF-8")


# Any folder of images by class


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_a_folder_with_train_and_a_test_split(tmp_path: Path, test: str, scanned: list[str]) -> None:
    put(tmp_path, "train/dog/b.png", "train/cat/2.jpg", "train/cat/10.jpg", f"{test}/dog/x.jpg", f"{test}/cat/y.jpg")
    assert find_folder(tmp_path) == tmp_path
    check_folder(tmp_path)
    data = load_folder(tmp_path, ALL)
    assert data.classes == ("cat", "dog")
    assert names(data.train, tmp_path) == ["train/cat/10.jpg", "train/cat/2.jpg", "train/dog/b.png"]
    assert data.train.labels.tolist() == [0, 0, 1]
    assert names(data.test, tmp_path) == [f"{test}/cat/y.jpg", f"{test}/dog/x.jpg"]
    assert data.test.labels.tolist() == [0, 1]
    assert (data.mean, data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert read(data.train, 2) == [image("b.png")]


def test_a_folder_of_class_folders_alone(tmp_path: Path, scanned: list[str]) -> None:
    root = put(tmp_path / "pets", "dog/b.png", "cat/2.jpg", "bird/3.gif")
    write(root / "README.md", "about")
    assert find_folder(root) == root
    check_folder(root)
    data = load_folder(root, Subset(classes=("dog", "bird")))
    assert names(data.train, root) == ["dog/b.png", "bird/3.gif"]
    assert data.train.labels.tolist() == [0, 1] and len(data.test) == 0
    assert not any(path.endswith("cat") for path in scanned[-3:])
    write(root / "synthetic.json", "{}")
    assert load_folder(root, ALL).synthetic


def test_a_folder_is_listed_class_by_class_as_wanted(tmp_path: Path, scanned: list[str]) -> None:
    put(tmp_path, *(f"{split}/c{number}/1.jpg" for split in ("train", "test") for number in range(5)))
    scanned.clear()
    load_folder(tmp_path, Subset(classes=("c3",)))
    assert sorted(path for path in scanned if "c" in Path(path).name) == [
        f"{tmp_path}/test/c3",
        f"{tmp_path}/train/c3",
    ]
    scanned.clear()
    check_folder(tmp_path)
    check_imagenet(put(tmp_path / "set", *TRAIN, f"val/{A}/1.jpg"))
    assert not any(Path(path).name.startswith(("c", "n")) for path in scanned)


def test_test_comes_before_val_and_a_test_without_classes_after_it(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.jpg", "val/a/2.jpg", "test/3.jpg")
    assert names(load_folder(tmp_path, ALL).test, tmp_path) == ["val/a/2.jpg"]
    put(tmp_path, "test/a/4.jpg")
    (tmp_path / "test/3.jpg").unlink()
    assert names(load_folder(tmp_path, ALL).test, tmp_path) == ["test/a/4.jpg"]


def test_a_test_split_without_classes_or_with_others_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/3.jpg")
    refused(load_folder, tmp_path, f"{tmp_path}/test without class folders")
    (tmp_path / "test/3.jpg").unlink()
    put(tmp_path, "test/a/1.jpg", "test/c/1.jpg")
    for subset in (ALL, Subset(classes=("a",))):
        refused(load_folder, tmp_path, f"{tmp_path}/test/c: a class without training images", subset=subset)
    with pytest.raises(DataError, match="test/c: a class without"):
        check_folder(tmp_path)


def test_a_class_without_test_images_is_no_error(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "test/c/2.jpg")
    assert load_folder(tmp_path, ALL).test.labels.tolist() == [2]


@pytest.mark.parametrize("name", ["train", "test", "val", "validation"])
def test_a_class_may_be_called_as_a_split_in_train_only(tmp_path: Path, name: str) -> None:
    vehicles = put(tmp_path / "vehicles", f"train/{name}/1.jpg", "train/bus/2.jpg", f"test/{name}/3.jpg")
    data = load_folder(vehicles, ALL)
    assert data.classes == tuple(sorted(["bus", name]))
    assert names(data.test, vehicles) == [f"test/{name}/3.jpg"]
    mixed = put(tmp_path / "mixed", f"{name}/1.jpg", "bus/2.jpg")
    assert find_folder(mixed) == mixed
    refused(load_folder, mixed, f"{mixed}/{name} without", "move all classes into train")
    with pytest.raises(DataError):
        check_folder(mixed)


def test_a_folder_is_found_only_where_its_layout_is(tmp_path: Path) -> None:
    (tmp_path / "empty/class").mkdir(parents=True)
    put(tmp_path, "flat/1.jpg", "deep/a/b/1.jpg")
    write(tmp_path / "texts/class/1.txt", "no image")
    for name in ("empty", "flat", "deep", "texts", "nowhere"):
        assert find_folder(tmp_path / name) is None
    put(tmp_path / "sets", "folder/train/a/1.jpg", "texts/class/1.json")
    assert find_folder(tmp_path / "sets") == tmp_path / "sets/folder"
    refused(load_folder, tmp_path / "flat", f"{tmp_path}/flat/1.jpg: an image beside class folders")
    (tmp_path / "none").mkdir()
    refused(load_folder, tmp_path / "none", f"no class folders in {tmp_path}/none")


def test_many_names_are_kept_in_little_memory(tmp_path: Path) -> None:
    """Some 12 bytes a file beside its name: 1.28 million files fit in some 45 MB."""
    put(tmp_path, *(f"train/a/{number:020}.jpg" for number in range(300)))
    train = load_folder(tmp_path, ALL).train
    assert isinstance(train, Encoded)
    files: Files = train.read.__self__  # type: ignore[attr-defined]
    assert len(files.names) == 300 * 24
    assert files.bounds.nbytes + files.folder.nbytes < 300 * 13
