"""hpcdl data show: what the figures hold, and that it can be read."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from image_files import stored
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch
from PIL import Image
from typer.testing import CliRunner

from hpcdl.cli.data_show import show
from hpcdl.data.images import Encoded, Images, ImageSet
from hpcdl.data.sources import registry as sources
from hpcdl.data.subset import ALL
from hpcdl.errors import ConfigError, DataError, HpcdlError
from hpcdl.report import samples
from hpcdl.report.canvas import png
from hpcdl.report.samples import LARGEST, class_histogram, pixels, prediction_caption, sample_grid
from hpcdl.report.theme import LIGHT


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def check_legible(figure: Figure) -> None:
    """Every word lies inside the figure, and over no other."""
    FigureCanvasAgg(figure).draw()
    boxes = []
    for axes in figure.axes:
        # Matplotlib keeps ticks beyond the axes too, and does not draw them.
        low, high = sorted(axes.get_ylim())
        labels = [label for label in axes.get_yticklabels() if low <= label.get_position()[1] <= high]
        labels += [label for label in axes.get_xticklabels() if label.get_position()[0] <= max(axes.get_xlim())]
        labels += [axes.xaxis.label, axes.yaxis.label]
        for text in [*axes.texts, *(labels if axes.axison else [])]:
            if text.get_text() and text.get_visible():
                boxes.append((text.get_text(), text.get_window_extent()))
    for words, box in boxes:
        inside = figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
        assert inside, f"{words!r} runs out of the figure"
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 3 or b.y1 <= a.y0 + 3
        assert apart, f"{one!r} over {other!r}"


def test_a_grid_holds_every_image_undistorted_above_its_caption() -> None:
    images = [picture(20, 40), picture(64, 16), picture(28, 28, 1), picture(30, 30)[..., 0], picture(8, 8, 4)]
    figure = sample_grid(images, ["a", "b", "c", "d", "e"], "five\nof any size")
    (axes,) = figure.axes
    assert len(axes.images) == 5
    captions = {text.get_text(): text.get_position() for text in axes.texts}
    squares = []
    for image, shown, name in zip(images, axes.images, "abcde", strict=True):
        left, right, bottom, top = shown.get_extent()
        assert (right - left) / (bottom - top) == pytest.approx(image.shape[1] / image.shape[0])
        assert np.array_equal(
            np.asarray(shown.get_array()).squeeze(), image[..., :3].squeeze() if image.ndim == 3 else image
        )
        assert captions[name][0] == pytest.approx((left + right) / 2) and captions[name][1] > bottom
        squares.append((left, right, top, bottom))
    inches = [abs(end - begin) for begin, end in (axes.get_xlim(), axes.get_ylim())]
    assert inches == pytest.approx(figure.get_size_inches()) and axes.get_position().bounds == (0, 0, 1, 1)
    for a, b in itertools.combinations(squares, 2):
        assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
    check_legible(figure)


def test_grey_is_drawn_from_black_to_white_whatever_the_image_holds() -> None:
    dark = np.full((28, 28, 1), 10, np.uint8)
    figure = sample_grid([dark], ["dark"], "t")
    drawn = np.asarray(Image.open(io.BytesIO(png(figure))).convert("L"))
    assert 5 <= np.median(drawn[-120:-60, 60:200]) <= 255  # the caption's band is paper
    assert np.count_nonzero(np.abs(drawn.astype(int) - 10) <= 2) > 200 * 200


def test_predictions_are_told_apart_by_colour_width_and_text() -> None:
    figure = sample_grid(
        [picture(8, 8)] * 3, ["cat (90 %)", "dog (60 %)\nis cat", "dog"], "t", right=[True, False, True]
    )
    (axes,) = figure.axes
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [to_hex(frame.get_edgecolor()).upper() for frame in frames] == [LIGHT.cycle[at] for at in (0, 1, 0)]
    assert frames[1].get_linewidth() > 2 * frames[0].get_linewidth()
    assert {"✓ cat (90 %)", "✗ dog (60 %)\nis cat", "✓ dog"} <= set(texts(figure))
    assert sum("frame" in words for words in texts(figure)) == 2
    assert not any("frame" in words for words in texts(sample_grid([picture(8, 8)], ["cat"], "t")))
    check_legible(figure)
    with pytest.raises(ValueError, match="shorter"):
        sample_grid([picture(8, 8)] * 2, ["a", "b"], "t", right=[True])


def test_a_prediction_says_what_it_took_an_image_for_and_what_it_is() -> None:
    names = ["cat", "golden retriever, a dog", "4"]
    assert prediction_caption(0, 0, 0.904, names) == "cat (90 %)"
    assert prediction_caption(0, 2, 0.6, names) == "4 (60 %)\nis cat"
    assert prediction_caption(1, 0, 1.0, names) == "cat (100 %)\nis golden retri…"
    assert prediction_caption(1, 1, 0.5, names) == "golden retrie…\n(50 %)"
    figure = sample_grid(
        [picture(8, 8)] * 2,
        [prediction_caption(1, 1, 0.5, names), prediction_caption(2, 1, 0.5, names)],
        "t",
        right=[True, False],
    )
    assert texts(figure)[-1].endswith("is 4")
    check_legible(figure)


@pytest.mark.parametrize("count", [1, 2, 40, 200])
def test_captions_and_titles_of_any_length_stay_legible(count: int) -> None:
    names = ["a", "automobile", "n01440764", "great white shark, white shark, man-eater", "W" * 5, "$x$ _y_", "Ümläut"]
    title = "SYNTHETIC stand-in for a set, train split: 1,281,167 images in 1,000 classes"
    captions = [names[place % len(names)] for place in range(count)]
    figure = sample_grid([picture(8, 8)] * count, captions, f"{title}\n{count} at random")
    check_legible(figure)
    told = [words.replace("\n", " ") for words in texts(figure)]
    assert "SYNTHETIC" in told[0]
    assert all(any(words.startswith(name[:8]) for words in told) for name in captions)


@pytest.mark.parametrize(
    "name", ["great white shark, white shark, man-eater, man-eating shark", "W" * 60, "", "WWWWW " * 9]
)
def test_neighbours_with_long_names_do_not_meet(name: str) -> None:
    figure = sample_grid([picture(8, 8)] * 9, [name] * 9, "t")
    check_legible(figure)
    words = texts(figure)[-1]
    assert words.count("\n") <= 2 and words.startswith(name[:5]) and words.endswith("…" if name else "")


def test_a_bar_for_each_of_a_few_classes() -> None:
    labels = np.array([0] * 12_500 + [2] * 3 + [3] * 497, np.int32)
    names = ["cats", "nobody's", "a long name that $nobody$ would read to its end", "ships"]
    figure = class_histogram(labels, names, "folder, train split: 13,000 images in 4 classes")
    axes = figure.axes[1]
    assert [patch.get_width() for patch in axes.patches] == [12_500, 0, 3, 497]
    assert [text.get_text().strip() for text in axes.texts] == [
        "12,500  (96.2 %)",
        "0  (0.0 %)",
        "3  (< 0.1 %)",
        "497  (3.8 %)",
    ]
    named = [label.get_text() for label in axes.get_yticklabels()]
    assert named[:2] == names[:2] and named[2].startswith("a long name that $nobod") and named[2].endswith("…")
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first class on top
    check_legible(figure)
    check_legible(class_histogram(np.zeros(7, np.int32), ["one"], "t"))


def test_one_class_that_is_nearly_all_is_not_called_all() -> None:
    figure = class_histogram(np.array([0] * 99_999 + [1], np.int32), ["a", "b"], "t")
    assert [text.get_text().strip() for text in figure.axes[1].texts] == ["99,999  (> 99.9 %)", "1  (< 0.1 %)"]


def test_a_thousand_classes_are_a_curve_of_sorted_counts() -> None:
    counts = np.random.default_rng(0).integers(732, 1300, 1000)
    counts[[17, 900]] = 1301, 700
    labels = np.repeat(np.arange(1000, dtype=np.int32), counts)
    figure = class_histogram(labels, [f"n{place:08}" for place in range(1000)], "imagenet")
    axes = figure.axes[1]
    (stairs,) = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    assert np.array_equal(stairs.get_data().values, np.sort(counts)[::-1])
    words = " ".join(texts(figure))
    assert "most 1,301 (n00000017)" in words and "fewest 700 (n00000900)" in words
    assert f"median {np.median(counts):,.0f} (dashed)" in words
    assert axes.lines[0].get_ydata()[0] == np.median(counts)
    assert axes.get_yscale() == "linear" and axes.get_ylim()[0] == 0
    assert len(axes.get_xticklabels()) < 20
    check_legible(figure)


def test_a_curve_over_powers_of_ten_is_logarithmic_and_tells_of_empty_classes() -> None:
    counts = np.array([5000, *[10] * 60, 0, 0])
    figure = class_histogram(np.repeat(np.arange(63, dtype=np.int32), counts), ["x" * 40] * 63, "t")
    assert figure.axes[1].get_yscale() == "log" and "logarithmic" in figure.axes[1].get_ylabel()
    assert "2 classes have none" in " ".join(texts(figure))
    check_legible(figure)


def test_equal_counts_are_said_in_one_number() -> None:
    figure = class_histogram(np.repeat(np.arange(100, dtype=np.int32), 500), [f"class {n}" for n in range(100)], "t")
    assert "each class has 500" in texts(figure) and not figure.axes[1].lines
    check_legible(figure)


@pytest.mark.parametrize("labels", [[], [0, 3], [-1, 0]])
def test_labels_outside_of_the_classes_are_refused(labels: list[int]) -> None:
    with pytest.raises(DataError, match="labels"):
        class_histogram(np.array(labels, np.int32), ["a", "b", "c"], "t")
    with pytest.raises(DataError, match="no images"):
        sample_grid([], [], "t")


def encoded(files: list[bytes], shapes: list[tuple[int, int, int]] | None = None) -> Encoded:
    return Encoded(
        np.zeros(len(files), np.int32),
        lambda places: [files[place] for place in places],
        lambda place: f"pets/{place}.png",
        None if shapes is None else np.array(shapes, np.int32),
    )


def test_stored_images_are_decoded_as_they_are() -> None:
    colour, grey = picture(30, 50), picture(20, 20)[..., 0]
    files = [stored(colour, "PNG"), stored(grey, "PNG"), stored(colour, "BMP")]
    got = pixels(encoded(files), np.array([1, 0, 2]))
    assert np.array_equal(got[0], grey) and np.array_equal(got[1], colour) and np.array_equal(got[2], colour)


def test_unusual_images_are_decoded_too() -> None:
    red = Image.new("RGB", (6, 4), (204, 51, 0))
    clear = Image.new("RGBA", (6, 4), (204, 51, 0, 255))
    deep = Image.fromarray(np.full((4, 6), 200 * 256 + 7, np.uint16))
    files = [
        stored(red.convert("P"), "PNG"),
        stored(clear, "PNG"),
        stored(red.convert("CMYK"), "JPEG"),
        stored(deep, "PNG"),
        stored(red, "GIF"),
    ]
    palette, transparent, print_, sixteen, gif = pixels(encoded(files), np.arange(5))
    for image in (palette, transparent, print_, gif):
        assert image.shape == (4, 6, 3) and np.abs(image.astype(int) - [204, 51, 0]).max() < 30
    assert sixteen.shape == (4, 6) and sixteen.dtype == np.uint8 and (sixteen == 200).all()


def test_a_large_photograph_comes_reduced_in_its_own_proportions() -> None:
    (image,) = pixels(encoded([stored(Image.new("RGB", (3000, 1500), (90, 90, 90)), "JPEG")]), np.array([0]))
    assert image.shape == (LARGEST // 2, LARGEST, 3)


def test_raw_pixels_take_their_shape() -> None:
    one, two = picture(4, 6), picture(5, 3, 1)
    split = encoded([one.tobytes(), two.tobytes()], [one.shape, two.shape])
    got = pixels(split, np.array([1, 0]))
    assert np.array_equal(got[0], two) and np.array_equal(got[1], one)


@pytest.mark.parametrize("data", [b"", b"no image", stored(picture(64, 64), "PNG")[:2000]])
def test_an_image_that_cannot_be_decoded_is_named(data: bytes) -> None:
    with pytest.raises(DataError, match=r"pets/1\.png"):
        pixels(encoded([stored(Image.new("L", (2, 2)), "PNG"), data]), np.array([0, 1]))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`hpcdl data show` in an empty folder; answers its output or raises its error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPCDL_DATA", raising=False)
    app = typer.Typer()
    app.command("show")(show)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, HpcdlError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_the_command_draws_the_split_and_says_what_it_is(
    command: Callable[..., str], small_cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids: list[tuple[list[np.ndarray], list[str], str]] = []

    def spy(images: list[np.ndarray], captions: list[str], title: str) -> Figure:
        grids.append((images, captions, title))
        return sample_grid(images, captions, title)

    monkeypatch.setattr(samples, "sample_grid", spy)
    text = command("cifar10", "--data", str(small_cifar), "--split", "test", "--count", "9")
    assert "SYNTHETIC stand-in for cifar10, test split: 60 images in 10 classes" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples-classes.png", "samples.png"]
    data = sources.SOURCES["cifar10"].load(small_cifar / "cifar-10-batches-bin", ALL)
    ((images, captions, title),) = grids
    assert len(images) == len(captions) == 9 and title.startswith("SYNTHETIC") and "seed 0" in title
    for image, caption in zip(images, captions, strict=True):
        (place,) = np.flatnonzero((data.test.pixels == image).all((1, 2, 3)))
        assert caption == data.classes[data.test.labels[place]]
    assert Image.open("samples.png").width > 800 and Image.open("samples-classes.png").width > 800


def test_equal_seeds_draw_equal_files_and_others_other_images(
    command: Callable[..., str], small_cifar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids = []
    monkeypatch.setattr(samples, "sample_grid", lambda *grid: grids.append(grid) or sample_grid(*grid))
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        command("cifar10", "--data", str(small_cifar), "--count", "4", "--seed", seed, "--out", f"{name}.png")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert not np.array_equal(grids[0][0], grids[2][0])
    assert Path("a-classes.png").read_bytes() == Path("c-classes.png").read_bytes()


def test_the_counts_of_each_class_come_as_json(command: Callable[..., str], small_cifar: Path) -> None:
    row = json.loads(command("cifar10", "--data", str(small_cifar), "--json", "--out", "x.png"))
    data = sources.SOURCES["cifar10"].load(small_cifar / "cifar-10-batches-bin", ALL)
    assert [one["name"] for one in row["classes"]] == list(data.classes)
    assert [one["images"] for one in row["classes"]] == [int((data.train.labels == label).sum()) for label in range(10)]
    assert (row["images"], row["split"], row["synthetic"], row["files"]) == (
        250,
        "train",
        True,
        ["x.png", "x-classes.png"],
    )


def test_a_real_set_of_files_is_not_called_synthetic(
    command: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = replace(encoded([stored(picture(9, 7), "PNG")] * 3), labels=np.array([0, 1, 1], np.int32))
    empty = Images(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int32))
    pets = ImageSet("folder", train, empty, ("cat", "dog"), "pets", False, (0.5,) * 3, (0.2,) * 3)
    entry = replace(sources.SOURCES["cifar10"], find=lambda path: path, load=lambda path, subset: pets)
    monkeypatch.setitem(sources.SOURCES, "cifar10", entry)
    text = command("cifar10", "--data", str(tmp_path))
    assert "SYNTHETIC" not in text and "folder, train split: 3 images in 2 classes" in text
    with pytest.raises(DataError, match="pets without test images"):
        command("cifar10", "--data", str(tmp_path), "--split", "test")


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        (["imagenette"], "imagenette"),
        (["cifar10", "--split", "validation"], "--split validation"),
        (["cifar10", "--out", "samples.jpg"], "--out samples.jpg"),
        (["cifar10", "--out", "nowhere/samples.png"], "--out nowhere/samples.png"),
        (["cifar10", "--data", "nowhere"], "--data nowhere"),
        (["cifar10"], "no cifar10 data"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    command: Callable[..., str], tmp_path: Path, arguments: list[str], received: str
) -> None:
    with pytest.raises(HpcdlError, match=received):
        command(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(command: Callable[..., str], small_cifar: Path) -> None:
    Path("samples.png").mkdir()
    with pytest.raises(ConfigError, match=r"samples\.png"):
        command("cifar10", "--data", str(small_cifar))
    assert [path.name for path in Path().iterdir()] == ["samples.png"]


def test_a_look_at_the_data_starts_no_tensorflow(small_cifar: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hpcdl.cli.data_show import show\n"
        f"show('cifar10', {str(small_cifar)!r}, 'test', 4, 0, Path('a.png'), False)\n"
        "print(sorted({'tensorflow', 'keras', 'matplotlib.pyplot'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"
