"""`hpcdl evaluate` and `hpcdl predict`, against what plain Keras, NumPy and Pillow make of the same files."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

from hpcdl.cli.app import app
from hpcdl.config.load import dump, load
from hpcdl.errors import HpcdlError
from hpcdl.records import write_json

Run = Callable[..., subprocess.CompletedProcess[str]]
Call = Callable[..., str]
FILES = ["classes.csv", "confusion.png", "evaluation.json", "samples.png"]
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_set(data: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pixels (images, 32, 32, 3) and labels of the test file, read as its publisher describes it."""
    table = np.fromfile(data / "cifar-10-batches-bin" / "test_batch.bin", np.uint8).reshape(-1, 3073)
    return table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), table[:, 0].astype(int)


test_set.__test__ = False  # type: ignore[attr-defined]


def test_a_run_is_evaluated_and_asked(hpcdl: Run, small_cifar: Path, tmp_path: Path) -> None:
    import keras

    where = ["--data", str(small_cifar)]
    done = hpcdl("run", "cifar10-cnn", "-n", "1", "train.steps=12", "train.epochs=2", *where, "--out", "a")
    assert done.returncode == 0, done.stderr
    done = hpcdl("evaluate", "a", *where, "--json", "--samples", "8")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # TensorFlow's own messages stay away
    answer = json.loads(done.stdout)
    assert answer.pop("folder") == "a/evaluation"
    assert answer == json.loads((tmp_path / "a/evaluation/evaluation.json").read_text(encoding="utf-8"))
    assert sorted(path.name for path in (tmp_path / "a/evaluation").iterdir()) == FILES

    summary = json.loads((tmp_path / "a/summary.json").read_text(encoding="utf-8"))
    assert answer["accuracy"] == answer["run_accuracy"] == summary["test_accuracy"]
    assert answer["difference"] is None
    assert answer["loss"] == pytest.approx(summary["test_loss"], rel=1e-5)

    pixels, labels = test_set(small_cifar)
    probabilities = keras.models.load_model(tmp_path / "a/model.keras").predict(pixels / 255.0, verbose=0)
    _check_scores(answer, probabilities, labels)
    with (tmp_path / "a/evaluation/classes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, scores in zip(rows, answer["classes"], strict=True):
        assert row["class"] == scores["class"] and int(row["images"]) == scores["images"]
        assert row["recall"] == ("" if scores["recall"] is None else str(scores["recall"]))
    for name in ("confusion.png", "samples.png"):
        with Image.open(tmp_path / "a/evaluation" / name) as picture:
            assert picture.format == "PNG" and min(picture.size) > 300

    (tmp_path / "a/model.keras").unlink()  # as a run that was stopped leaves none
    done = hpcdl("evaluate", "a", *where, "--json", "--samples", "0", "--out", "b", "--checkpoint", "newest")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] == answer["accuracy"]

    for place in (3, 4):
        Image.fromarray(pixels[place]).save(tmp_path / f"{place}.png")
    Image.fromarray(pixels[5]).save(tmp_path / "5.webp", lossless=True)
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    images = ["3.png", "notes.txt", "4.png", "nowhere.png", "5.webp"]
    done = hpcdl("predict", "a", *images, "--checkpoint", "update-00000012", "--out", "b/guesses.png")
    assert done.returncode == 1
    told = [line.split(": ") for line in done.stdout.splitlines()]
    assert [name for name, _ in told] == ["3.png", "4.png", "5.webp"]
    for place, (_, words) in zip((3, 4, 5), told, strict=True):
        best = np.argsort(-probabilities[place])[:3]
        assert [each.split()[0] for each in words.split(", ")] == [CLASSES[label] for label in best]
        shown = [float(each.split()[1]) for each in words.split(", ")]
        np.testing.assert_allclose(shown, probabilities[place][best], atol=1e-4)
    errors = done.stderr.splitlines()
    assert "notes.txt" in errors[0] and "nowhere.png" in errors[1] and "2 of 5" in errors[2] and len(errors) == 3
    with Image.open(tmp_path / "b/guesses.png") as picture:
        assert picture.format == "PNG"


def _check_scores(
    answer: dict[str, Any], probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> None:
    """An evaluation against loops over what plain Keras predicts."""
    predicted = probabilities.argmax(axis=1)
    matrix = [[0] * 10 for _ in range(10)]
    for label, other in zip(labels, predicted, strict=True):
        matrix[label][other] += 1
    assert answer["confusion"] == matrix
    assert answer["images"] == len(labels) == 60
    assert answer["accuracy"] == float(np.mean(predicted == labels))
    among = [label in np.argsort(-row)[:5] for row, label in zip(probabilities, labels, strict=True)]
    assert answer["top5_accuracy"] == sum(among) / 60
    picked = probabilities[np.arange(60), labels].astype(float)
    assert answer["loss"] == pytest.approx(-np.log(picked).mean(), rel=1e-4)
    for label, scores in enumerate(answer["classes"]):
        hits, taken, count = matrix[label][label], sum(row[label] for row in matrix), sum(matrix[label])
        assert scores["class"] == CLASSES[label]
        assert (scores["images"], scores["predicted"], scores["correct"]) == (count, taken, hits)
        assert scores["precision"] == (hits / taken if taken else None)
        assert scores["recall"] == (hits / count if count else None)
        assert scores["f1"] == (2 * hits / (taken + count) if taken + count else None)
    worst = answer["most_confused"][0]
    largest = max(matrix[row][column] for row in range(10) for column in range(10) if row != column)
    assert worst["images"] == largest
    assert matrix[CLASSES.index(worst["class"])][CLASSES.index(worst["taken_for"])] == largest


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls a command in this process, in an empty folder; answers stdout, or raises its error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPCDL_DATA", raising=False)

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, HpcdlError):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    return run


def make_run(
    folder: Path, model: Any, classes: list[str], *overrides: str, records: dict[str, Any] | None = None
) -> Path:
    """A run's folder as a run leaves it, with a model of one's own; `records` go into environment.json."""
    folder.mkdir()
    (folder / "config.yaml").write_text(dump(load("cifar10-cnn", overrides)), encoding="utf-8")
    channels = model.input_shape[-1]
    environment = {"data": "test", "classes": classes, "mean": [0.5] * channels, "std": [0.25] * channels}
    write_json(folder / "environment.json", {**environment, **(records or {})})
    model.save(folder / "model.keras")
    return folder


def linear(shape: tuple[int, int, int], kernel: npt.NDArray[np.floating[Any]]) -> Any:
    """A network that shows what pixels it got: softmax(pixels x kernel); kernel: (pixels, classes)."""
    import keras

    layers = [
        keras.layers.Input(shape),
        keras.layers.Flatten(),
        keras.layers.Dense(kernel.shape[1], "softmax", use_bias=False),
    ]
    model = keras.Sequential(layers)
    model.set_weights([kernel])
    return model


def softmax(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum(), np.float64)


@pytest.fixture
def cifar_run(tmp_path: Path, small_cifar: Path) -> Path:
    """The folder of a run whose model has random weights."""
    kernel = np.random.default_rng(0).normal(0, 0.03, (3072, 10))
    return make_run(tmp_path / "run", linear((32, 32, 3), kernel), CLASSES, f"data.path={small_cifar}")


def test_another_accuracy_than_the_runs_is_told_in_a_line(call: Call, cifar_run: Path) -> None:
    call("evaluate", "run", "--samples", "4")
    shown = call("evaluate", "run", "--samples", "0")
    assert "summary.json" not in shown
    assert sorted(path.name for path in (cifar_run / "evaluation").iterdir()) == FILES[:-1]
    accuracy = json.loads((cifar_run / "evaluation/evaluation.json").read_text(encoding="utf-8"))["accuracy"]
    write_json(cifar_run / "summary.json", {"test_accuracy": accuracy})
    assert f"accuracy {accuracy:.4f} (as in summary.json)" in call("evaluate", "run", "--samples", "0")
    write_json(cifar_run / "summary.json", {"test_accuracy": accuracy + 1 / 60})
    [line] = [line for line in call("evaluate", "run", "--samples", "0").splitlines() if line.startswith("note: ")]
    assert f"{accuracy:.4f} is not the {accuracy + 1 / 60:.4f}" in line
    assert "the run's data were: test" in line


def test_the_mirror_is_looked_into_as_in_the_run(call: Call, cifar_run: Path, small_cifar: Path) -> None:
    import keras

    config = dump(load("cifar10-cnn", [f"data.path={small_cifar}", "train.mirror=true"]))
    (cifar_run / "config.yaml").write_text(config, encoding="utf-8")
    answer = json.loads(call("evaluate", "run", "--samples", "0", "--json"))
    pixels, labels = test_set(small_cifar)
    model = keras.models.load_model(cifar_run / "model.keras")
    both = (model.predict(pixels / 255.0, verbose=0) + model.predict(pixels[:, :, ::-1] / 255.0, verbose=0)) / 2
    _check_scores(answer, both, labels)


def test_splits_are_those_of_the_run(call: Call, cifar_run: Path, small_cifar: Path) -> None:
    with pytest.raises(HpcdlError, match=r"data\.validation is 0"):
        call("evaluate", "run", "--split", "validation")
    config = dump(load("cifar10-cnn", [f"data.path={small_cifar}", "data.validation=0.2"]))
    (cifar_run / "config.yaml").write_text(config, encoding="utf-8")
    held_out, trained = (
        json.loads(call("evaluate", "run", "--split", split, "--samples", "2", "--json"))
        for split in ("validation", "train")
    )
    assert (held_out["images"], trained["images"]) == (50, 200)
    files = [f"data_batch_{number}.bin" for number in range(1, 6)]
    whole = np.concatenate([np.fromfile(small_cifar / "cifar-10-batches-bin" / name, np.uint8) for name in files])
    counts = np.bincount(whole.reshape(-1, 3073)[:, 0], minlength=10)
    both = [one["images"] + two["images"] for one, two in zip(held_out["classes"], trained["classes"], strict=True)]
    assert both == counts.tolist()


@pytest.mark.parametrize(
    ("spoil", "received"),
    [
        (lambda run: shutil.rmtree(run), "no folder run"),
        (lambda run: (run / "config.yaml").unlink(), "run without config.yaml"),
        (lambda run: (run / "config.yaml").write_text("name: [", encoding="utf-8"), "config.yaml"),
        (lambda run: (run / "model.keras").unlink(), "no model.keras"),
        (lambda run: (run / "model.keras").write_bytes(b""), "model.keras"),
        (lambda run: (run / "model.keras").write_text("text", encoding="utf-8"), "model.keras"),
        (lambda run: _cut(run / "model.keras"), "model.keras"),
        (lambda run: _flip(run / "model.keras"), "model.keras"),
        (lambda run: _vectors(run / "model.keras"), "a model from (None, 3) to (None, 2)"),
        (lambda run: (run / "environment.json").write_text("{", encoding="utf-8"), "environment.json"),
        (lambda run: (run / "environment.json").write_text("[]", encoding="utf-8"), "environment.json"),
        (lambda run: (run / "summary.json").write_text("{", encoding="utf-8"), "summary.json"),
    ],
    ids=["folder", "config", "yaml", "model", "empty", "text", "cut", "flipped", "vectors", "torn", "list", "summary"],
)
@pytest.mark.parametrize("command", [["evaluate"], ["predict"]], ids=" ".join)
def test_a_folder_that_is_no_whole_run_is_refused(
    call: Call, cifar_run: Path, spoil: Callable[[Path], Any], received: str, command: list[str]
) -> None:
    spoil(cifar_run)
    with pytest.raises(HpcdlError) as caught:
        call(*command, "run", *(["x.png"] if command == ["predict"] else []))
    assert received in caught.value.received and caught.value.fix
    assert caught.value.exit_code == 2
    assert not (cifar_run / "evaluation").exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _vectors(path: Path) -> None:
    import keras

    keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, "softmax")]).save(path)


def _flip(path: Path) -> None:
    """Changes a byte among the weights, which the archive's checksum notices."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_a_run_without_a_model_says_why(call: Call, cifar_run: Path) -> None:
    (cifar_run / "config.yaml").write_text(dump(load("cifar10-cnn", ["train.save=false"])), encoding="utf-8")
    (cifar_run / "model.keras").unlink()
    with pytest.raises(HpcdlError, match=r"train\.save=false"):
        call("evaluate", "run")


def test_code_in_a_model_file_is_not_executed(call: Call, cifar_run: Path, tmp_path: Path) -> None:
    import keras

    trap = keras.layers.Lambda(lambda x: [__import__("pathlib").Path("trapped").touch(), x][1], output_shape=(3072,))
    model = keras.Sequential([keras.layers.Input((32, 32, 3)), keras.layers.Flatten(), trap])
    model.save(cifar_run / "model.keras")
    (tmp_path / "trapped").unlink(missing_ok=True)
    with pytest.raises(HpcdlError, match=r"model\.keras: .*Python lambda"):
        call("evaluate", "run")
    assert not (tmp_path / "trapped").exists()


def test_a_model_loads_whatever_optimizer_it_was_saved_with(call: Call, cifar_run: Path) -> None:
    import keras

    class Strange(keras.optimizers.SGD):
        """Keras does not know it when it loads the file."""

    model = keras.models.load_model(cifar_run / "model.keras")
    model.compile(Strange(), "sparse_categorical_crossentropy")
    model.save(cifar_run / "model.keras")
    assert json.loads(call("evaluate", "run", "--json", "--samples", "0"))["images"] == 60


@pytest.mark.parametrize(
    ("shape", "outputs", "records", "received"),
    [
        ((32, 32, 3), 7, {}, "10 classes in .* for a model with 7 outputs"),
        ((32, 32, 3), 10, {"classes": [*CLASSES[:9], "lorry"]}, "class 9 of .* is 'truck', and 'lorry'"),
        ((32, 32, 3), 10, {"classes": CLASSES[:9]}, "class 9 of .* is 'truck', and None"),
        ((28, 28, 3), 10, {}, r"\(32, 32, 3\) in .* for a model that takes \(28, 28, 3\)"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused(
    call: Call,
    tmp_path: Path,
    small_cifar: Path,
    shape: tuple[int, int, int],
    outputs: int,
    records: dict[str, Any],
    received: str,
) -> None:
    model = linear(shape, np.zeros((math.prod(shape), outputs)))
    make_run(tmp_path / "run", model, CLASSES, f"data.path={small_cifar}", records=records)
    with pytest.raises(HpcdlError, match=received) as caught:
        call("evaluate", "run")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run/evaluation").exists()


def test_bad_words_are_refused_and_leave_nothing(call: Call, cifar_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments, received in (
        (["evaluate", "run", "--split", "exam"], "--split exam"),
        (["evaluate", "run", "--data", "nowhere"], "--data nowhere"),
        (["evaluate", "run", "--out", "file/a"], "--out file/a"),
        (["predict", "run", "x.png", "--out", "file/a.png"], "file"),
        (["predict", "run", "x.png", "--out", "a.jpg"], "--out a.jpg"),
    ):
        with pytest.raises(HpcdlError) as caught:
            call(*arguments)
        assert received in caught.value.received and caught.value.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]


def test_a_model_that_answers_nan_is_told(call: Call, tmp_path: Path, small_cifar: Path) -> None:
    model = linear((32, 32, 3), np.full((3072, 10), np.nan))
    make_run(tmp_path / "run", model, CLASSES, f"data.path={small_cifar}")
    with pytest.raises(HpcdlError, match="nan"):
        call("evaluate", "run")
    assert not (tmp_path / "run/evaluation").exists()


def test_a_network_for_grey_images_gets_the_whole_picture_in_grey(call: Call, tmp_path: Path) -> None:
    """Scaled, made grey by ITU-R 601's weights, and normalised with the run's mean and deviation."""
    kernel = np.random.default_rng(1).normal(0, 0.5, (4, 3))
    make_run(
        tmp_path / "run", linear((2, 2, 1), kernel), ["a", "b", "c"], "data.source=mnist", "data.normalize=standard"
    )
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 120, 30]]], np.uint8)
    grey = colours @ np.array([0.299, 0.587, 0.114])
    Image.fromarray(colours).save(tmp_path / "colour.png")
    Image.fromarray(grey.round().astype(np.uint8)).save(tmp_path / "grey.bmp")
    Image.fromarray((grey.round() * 256 + 77).astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(colours).resize((60, 80), Image.Resampling.NEAREST).save(tmp_path / "large.tiff")
    answers = json.loads(call("predict", "run", "colour.png", "grey.bmp", "deep.png", "large.tiff", "--json"))
    expected = softmax(((grey / 255 - 0.5) / 0.25).reshape(4) @ kernel)
    for answer, tolerance in zip(answers, (0.01, 0.01, 0.01, 0.1), strict=True):
        told = {each["class"]: each["probability"] for each in answer["classes"]}
        np.testing.assert_allclose([told[name] for name in "abc"], expected, atol=tolerance)
        assert list(told.values()) == sorted(told.values(), reverse=True)


def test_a_large_picture_is_smoothed_when_it_is_scaled(call: Call, tmp_path: Path) -> None:
    """Bilinear and antialiased: a triangle as wide as two of the new pixels (Pillow rounds between the two axes)."""
    kernel = np.random.default_rng(3).normal(0, 0.5, (6, 3))
    make_run(tmp_path / "run", linear((2, 3, 1), kernel), ["a", "b", "c"], "data.source=mnist")
    pixels = np.random.default_rng(4).integers(0, 256, (9, 20), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    expected = softmax((triangle(9, 2) @ pixels @ triangle(20, 3).T / 255).reshape(6) @ kernel)
    [answer] = json.loads(call("predict", "run", "x.png", "--json"))
    told = {each["class"]: each["probability"] for each in answer["classes"]}
    np.testing.assert_allclose([told[name] for name in "abc"], expected, atol=0.003)


def triangle(old: int, new: int) -> npt.NDArray[np.float64]:
    """What each new pixel takes of each old one, (new, old)."""
    scale = old / new
    centers = (np.arange(new)[:, np.newaxis] + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(old) + 0.5 - centers) / scale)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def test_a_network_for_image_files_sees_them_as_in_an_evaluation(call: Call, tmp_path: Path) -> None:
    """The folder's test images, evaluated and predicted one by one; and photographs upright as their EXIF says."""
    half = np.zeros((8, 8, 3))
    half[:, :4] = 1 / 96
    kernel = np.stack([half.ravel(), half[:, ::-1].ravel()], axis=1) * 4
    run = make_run(tmp_path / "run", linear((8, 8, 3), kernel), ["left", "right"], "data.source=folder", "data.size=8")
    random = np.random.default_rng(2)
    names = []
    for label in ("left", "right"):
        for split in ("train", "test"):
            (tmp_path / "set" / split / label).mkdir(parents=True)
            for number in range(3):
                pixels = random.integers(0, 100, (40, 48, 3), np.uint8)
                pixels[:, slice(0, 24) if label == "left" else slice(24, 48)] += 150
                kind = ("png", "jpg", "gif")[number]
                names.append(f"set/{split}/{label}/{number}.{kind}")
                Image.fromarray(pixels).save(tmp_path / names[-1])
    tests = [name for name in names if "/test/" in name]
    told = json.loads(call("predict", "run", *tests, "--json"))
    assert [row["classes"][0]["class"] for row in told] == ["left"] * 3 + ["right"] * 3
    loss = -np.mean([math.log(row["classes"][0]["probability"]) for row in told])
    evaluated = json.loads(call("evaluate", "run", "--data", "set", "--json"))
    assert evaluated["accuracy"] == 1.0 and evaluated["loss"] == pytest.approx(loss, rel=1e-5)
    assert evaluated["top5_accuracy"] is None and (run / "evaluation/samples.png").exists()

    photograph = Image.open(tmp_path / tests[1])  # white on its left side
    turned = photograph.getexif()
    turned[0x0112] = 3  # was held upside down
    photograph.save(tmp_path / "turned.jpg", exif=turned)
    photograph.save(tmp_path / "plain.webp")
    rows = json.loads(call("predict", "run", "turned.jpg", "plain.webp", "--json"))
    assert [row["classes"][0]["class"] for row in rows] == ["right", "left"]


def test_predictions_need_what_the_run_knew_of_its_data(call: Call, cifar_run: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "x.png")
    for records, received in (({}, "without classes"), ({"classes": ["a"], "mean": [], "std": []}, "with 1 classes")):
        write_json(cifar_run / "environment.json", records)
        with pytest.raises(HpcdlError, match=received):
            call("predict", "run", "x.png")
