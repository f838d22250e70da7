"""Weights from files, and layers that are not trained."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from hpcdl.errors import ConfigError
from hpcdl.models.registry import build
from hpcdl.models.weights import freeze, load_weights
from hpcdl.training.state import State

SMALL = (16, 16, 3)
IMAGES = np.random.default_rng(0).uniform(size=(4, *SMALL)).astype(np.float32)


def made(name: str, classes: int = 10, seed: int = 1, shape: tuple[int, int, int] = SMALL) -> keras.Model:
    """A network whose weights and statistics all differ from those of another seed, and from how they start."""
    keras.utils.set_random_seed(seed)
    model = build(name, shape, classes)
    for number, variable in enumerate(model.weights):
        random = np.random.default_rng([seed, number])
        variable.assign(random.uniform(0.5, 1.5, variable.shape) / np.sqrt(np.prod(variable.shape[:-1])))
    return model


def values(model: keras.Model) -> list[np.ndarray[Any, Any]]:
    return [np.array(each) for each in model.weights]


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def saved(model: keras.Model, path: Path) -> Path:
    """The network's file, of the kind that the name says."""
    (model.save if path.suffix == ".keras" else model.save_weights)(path)
    return path


KINDS = ["net.keras", "net.weights.h5"]


@pytest.mark.parametrize("file", KINDS)
@pytest.mark.parametrize("name", ["resnet20", "cifar10-cnn-dropout", "mnist-mlp-selu"])
def test_a_file_of_the_same_network_gives_all_weights(name: str, file: str, tmp_path: Path) -> None:
    source = made(name)
    path = saved(source, tmp_path / file)
    build(name, SMALL, 10)  # Keras counts layers of a process in their names; files do not depend on them
    model = made(name, seed=2)
    assert not same(values(model), values(source))
    assert load_weights(model, str(path)) == []
    assert same(values(model), values(source))
    np.testing.assert_array_equal(model(IMAGES), source(IMAGES))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("file", KINDS)
def test_a_classifier_of_other_classes_keeps_its_start(file: str, tmp_path: Path) -> None:
    source, model = made("cifar10-cnn"), made("cifar10-cnn", classes=7, seed=2)
    start = values(model)
    assert load_weights(model, saved(source, tmp_path / file)) == [model.layers[-1].name]
    assert same(values(model)[:-2], values(source)[:-2])
    assert same(values(model)[-2:], start[-2:])


def test_a_trained_model_gives_its_weights_and_not_its_optimizer_or_seeds(tmp_path: Path) -> None:
    source = made("cifar10-cnn-dropout")
    source.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    source.fit(IMAGES, np.arange(4), verbose=0)
    model = made("cifar10-cnn-dropout", seed=2)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    seeds = [np.array(each) for each in model.non_trainable_variables]
    assert len(seeds) == 3
    assert not same(seeds, [np.array(each) for each in source.non_trainable_variables])
    assert load_weights(model, saved(source, tmp_path / "net.keras")) == []
    assert same(values(model), values(source))
    assert same(seeds, [np.array(each) for each in model.non_trainable_variables])
    assert int(source.optimizer.iterations) == 1
    assert int(model.optimizer.iterations) == 0


def test_weights_of_mixed_precision_are_float32_and_fit(tmp_path: Path) -> None:
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        source = made("resnet20")
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    model = made("resnet20", seed=2)
    assert load_weights(model, saved(source, tmp_path / "net.keras")) == []
    assert same(values(model), values(source))


def refused(model: keras.Model, path: Path, match: str) -> ConfigError:
    """The error of a file, which must leave the network as it was."""
    start = values(model)
    with pytest.raises(ConfigError, match=match) as caught:
        load_weights(model, str(path))
    assert same(values(model), start)
    return caught.value


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = saved(made("mnist-mlp-64"), tmp_path / "net.keras")
    error = refused(made("cifar10-cnn"), path, "weights for 0 of the network's 5 layers")
    assert str(path) in error.received


def test_half_of_the_layers_are_enough_and_fewer_are_not(tmp_path: Path) -> None:
    # 2 layers of 784 to 64 to 64 to 10: one fits, one fits but in shape, one does not
    source = saved(made("mnist-mlp-64", shape=(8, 8, 1)), tmp_path / "net.weights.h5")
    assert len(load_weights(made("mnist-mlp-64", 7, shape=(8, 8, 1)), source)) == 1
    refused(made("mnist-mlp-64", 7, shape=(8, 8, 3)), source, "1 of the network's 3")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, garbage, empty])
@pytest.mark.parametrize("file", KINDS)
def test_a_damaged_file_is_refused(file: str, damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = saved(made("cifar10-cnn"), tmp_path / file)
    damage(path)
    error = refused(made("cifar10-cnn", seed=2), path, "damaged or of another kind")
    assert str(path) in error.received
    assert "save" in error.fix


@pytest.mark.parametrize(
    ("name", "match"), [("absent.keras", "no weights file"), ("folder.keras", "no weights file"), ("net.h5", "net.h5")]
)
def test_a_path_that_is_no_weights_file_is_refused(name: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "net.h5").write_bytes(b"legacy")
    assert ".weights.h5" in refused(made("cifar10-cnn"), tmp_path / name, match).expected


def rewrite(path: Path, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED) -> None:
    """Writes a .keras file anew, with its members changed or, for None, without them."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)


CHANGES = {
    "no weights": lambda name, content: None if name == "model.weights.h5" else content,
    "no config": lambda name, content: None if name == "config.json" else content,
    "torn config": lambda name, content: content[:50] if name == "config.json" else content,
    "deep config": lambda name, content: b"[" * 100_000 if name == "config.json" else content,
    "other weights": lambda name, content: b"weights" * 99 if name == "model.weights.h5" else content,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_keras_file_without_a_whole_part_is_refused(change: str, tmp_path: Path) -> None:
    path = saved(made("cifar10-cnn"), tmp_path / "net.keras")
    rewrite(path, CHANGES[change])
    refused(made("cifar10-cnn", seed=2), path, "damaged or of another kind")


def test_a_bit_that_fell_in_a_keras_file_is_noticed(tmp_path: Path) -> None:
    path = saved(made("cifar10-cnn"), tmp_path / "net.keras")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(made("cifar10-cnn", seed=2), path, "CRC")


def test_a_member_of_absurd_size_is_not_unpacked(tmp_path: Path) -> None:
    path = saved(made("cifar10-cnn"), tmp_path / "net.keras")
    bomb = lambda name, content: bytes(2**26) if name == "model.weights.h5" else content  # noqa: E731
    rewrite(path, bomb, zipfile.ZIP_DEFLATED)
    refused(made("cifar10-cnn", seed=2), path, f"{2**26} bytes")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float, tmp_path: Path) -> None:
    source = made("cifar10-cnn")
    source.layers[4].weights[1].assign(np.full(64, bad))
    refused(made("cifar10-cnn", seed=2), saved(source, tmp_path / "net.keras"), "infinity or NaN")


def test_arrays_in_other_files_are_not_read(tmp_path: Path) -> None:
    path = saved(made("cifar10-cnn"), tmp_path / "net.weights.h5")
    other = shutil.copy(path, tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        del file["layers"]
        file["layers"] = h5py.ExternalLink(str(other), "/layers")
    refused(made("cifar10-cnn", seed=2), path, "weights for 0 of")
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(64 * 4))
    path = saved(made("cifar10-cnn"), tmp_path / "net.weights.h5")
    with h5py.File(path, "r+") as file:
        del file["layers/dense/vars/1"]
        file.create_dataset("layers/dense/vars/1", (64,), "f4", external=[(str(secret), 0, 256)])
    refused(made("cifar10-cnn", seed=2), path, "lies in another file")


def test_an_array_of_another_type_is_refused(tmp_path: Path) -> None:
    path = saved(made("cifar10-cnn"), tmp_path / "net.weights.h5")
    with h5py.File(path, "r+") as file:
        del file["layers/dense/vars/1"]
        file["layers/dense/vars/1"] = np.array([b"text"] * 64)
    refused(made("cifar10-cnn", seed=2), path, "damaged or of another kind")


def test_a_network_with_a_lambda_is_refused_and_its_code_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    def code(x: Any, where: str = str(marker)) -> Any:
        open(where, "w").close()  # noqa: PTH123
        return x

    layers = [keras.layers.Input((4,)), keras.layers.Lambda(code), keras.layers.Dense(2)]
    path = saved(keras.Sequential(layers), tmp_path / "net.keras")
    marker.unlink()  # it ran where the network was made
    assert "save_weights" in refused(made("cifar10-cnn"), path, "Lambda").fix
    assert not marker.exists()


def test_nothing_that_a_file_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile_layers.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = made("cifar10-cnn")
    path = saved(source, tmp_path / "net.keras")

    def hostile(name: str, content: bytes) -> bytes:
        if name != "config.json":
            return content
        config = json.loads(content)
        config |= {"module": "hostile_layers", "class_name": "Net", "registered_name": None}
        return json.dumps(config).encode()

    rewrite(path, hostile)
    model = made("cifar10-cnn", seed=2)
    assert load_weights(model, path) == []
    assert same(values(model), values(source))
    assert "hostile_layers" not in sys.modules


def test_imagenets_weights_come_through_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    real, downloads = keras.applications.MobileNetV3Small, []

    def download(
        input_shape: Any = None, include_top: bool = True, include_preprocessing: bool = True, **rest: Any
    ) -> keras.Model:
        options = {"input_shape": input_shape, "include_top": include_top, **rest}
        model = real(include_preprocessing=include_preprocessing, **{**options, "weights": None})
        if rest["weights"] is None:
            return model
        for number, each in enumerate(model.weights):
            each.assign(np.full(each.shape, number))
        downloads.append((input_shape, include_top, include_preprocessing, model))
        return model

    monkeypatch.setattr(keras.applications, "MobileNetV3Small", download)
    model = build("mobilenetv3small", (32, 32, 3), 10)
    start = values(model)
    kept = load_weights(model, "imagenet")
    assert set(kept) == {"conv_2", "logits"}
    [(shape, top, scaled, source)] = downloads
    assert (shape, top, scaled) == ((32, 32, 3), False, False)
    loaded = values(source)
    assert same(values(model)[: len(loaded)], loaded)
    assert same(values(model)[len(loaded) :], start[len(loaded) :])


def test_weights_that_cannot_be_downloaded_are_told_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**options: Any) -> None:
        raise Exception("URL fetch failure on https://example.org/weights: None -- no route")

    model = build("MobileNet", (32, 32, 3), 10)
    monkeypatch.setattr(keras.applications, "MobileNet", unreachable)
    with pytest.raises(ConfigError, match="URL fetch failure") as caught:
        load_weights(model, "imagenet")
    assert "MobileNet.weights.h5" in caught.value.fix
    with pytest.raises(ConfigError, match=r"keras\.applications"):
        load_weights(made("cifar10-cnn"), "imagenet")


def test_an_efficient_nets_published_file_scales_pixels_as_it_was_trained(tmp_path: Path) -> None:
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    source = keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=10)
    # what the published files hold: deviations in the place of variances
    source.layers[2].set_weights([mean, deviation, np.int64(0)])
    model = build("EfficientNetB0", (32, 32, 3), 10)
    assert load_weights(model, saved(source, tmp_path / "net.weights.h5")) == []
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    scaled = keras.Model(model.input, model.layers[2].output)(pixels)
    np.testing.assert_allclose(scaled, (pixels / 255 - mean) / deviation, atol=1e-4)
    # such a network's own file is not changed a second time
    loaded = values(model)
    load_weights(model, saved(model, tmp_path / "again.weights.h5"))
    assert same(values(model), loaded)


def trained(model: keras.Model) -> int:
    return sum(int(np.prod(each.shape)) for each in model.trainable_variables)


def test_the_head_of_vgg16_is_its_three_dense_layers() -> None:
    model = build("VGG16", (32, 32, 3), 10)
    whole = trained(model)
    head = (512 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 10 + 10)
    freeze(model, "head")
    assert trained(model) == head
    assert {each.path.split("/")[0] for each in model.trainable_variables} == {"fc1", "fc2", "predictions"}
    freeze(model, "head+2")
    assert trained(model) == head + 2 * (9 * 512 * 512 + 512)
    freeze(model, "head+13")
    assert trained(model) == whole == model.count_params()
    freeze(model, "head")
    freeze(model, "all")
    assert trained(model) == whole
    with pytest.raises(ConfigError, match="13 layers"):
        freeze(model, "head+14")


def test_the_head_of_resnet20_is_its_classifier() -> None:
    model = build("resnet20", (32, 32, 3), 10)
    freeze(model, "head")
    assert trained(model) == 650
    freeze(model, "head+1")
    assert trained(model) == 650 + 2 * 64  # scale and offset of the last normalisation
    freeze(model, "head+2")
    assert trained(model) == 650 + 2 * 64 + 9 * 64 * 64
    freeze(model, "head+3")
    assert trained(model) == 650 + 4 * 64 + 9 * 64 * 64


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("cifar10-cnn", {"dense", "dense_1"}),
        ("mnist-mlp-64", {"dense", "dense_1", "dense_2"}),
        ("MobileNetV3Small", {"conv_2", "logits"}),
        ("MobileNet", {"conv_preds"}),
    ],
)
def test_the_head_follows_the_last_pooling_with_weights_after_it(name: str, head: set[str]) -> None:
    keras.utils.clear_session()
    model = build(name, (32, 32, 3), 10)
    freeze(model, "head")
    assert {each.path.split("/")[-2] for each in model.trainable_variables} == head


def test_a_network_without_pooling_has_its_last_layer_for_a_head() -> None:
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    freeze(model, "head")
    assert trained(model) == 3 * 2 + 2


def test_frozen_layers_stay_as_they_are_and_normalise_by_their_statistics() -> None:
    model = made("resnet20")
    freeze(model, "head")
    start = values(model)
    np.testing.assert_array_equal(model(IMAGES, training=True), model(IMAGES, training=False))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(IMAGES, np.arange(4), verbose=0)
    changed = [not np.array_equal(*pair) for pair in zip(values(model), start, strict=True)]
    head = [id(each) for each in model.layers[-1].weights]
    assert changed == [id(each) in head for each in model.weights]


def test_recipes_can_combine_the_state_of_a_frozen_network() -> None:
    model = made("mnist-mlp-selu")
    assert len(State(model).momenta) == 6
    freeze(model, "all")
    model = build("resnet20", SMALL, 10)
    freeze(model, "head+1")
    state = State(model)
    assert len(state.momenta) == 2
    start = state.start(tf.zeros((0, 2), tf.int32))
    weights = [each.value for each in model.trainable_variables]
    _, after, _ = model.stateless_call(weights, start, IMAGES, training=True, return_losses=True)
    assert len(state.added(start, after)) == 2


@pytest.mark.parametrize("word", ["heads", "head+", "head+0", "head-1", "head+1.5", "", "HEAD", "none", "head+1 "])
def test_an_unknown_word_is_refused(word: str) -> None:
    model = made("cifar10-cnn")
    with pytest.raises(ConfigError, match="head\\+N"):
        freeze(model, word)
    assert trained(model) == model.count_params()
