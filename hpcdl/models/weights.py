"""Weights that a network starts from, and which of them are trained."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import keras
import numpy as np

from hpcdl.errors import ConfigError
from hpcdl.models.applications import APPLICATIONS, pretrained

IMAGENET = "imagenet"
MEMBER = "model.weights.h5"
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST_MEMBER = 1000
"""How many times its compressed size a member of a .keras file may have."""
KERAS_FILE = "a .keras or .weights.h5 file that Keras 3 saved"
SAVE_AGAIN = "save it again with model.save('x.keras') or model.save_weights('x.weights.h5')"

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, LookupError, RuntimeError, TypeError, ValueError)
"""What zipfile, json and h5py raise on files that are not whole."""

Values = dict[str, Any]
"""The arrays of a layer in a file, by their number there."""


def load_weights(model: keras.Model, path: str | Path) -> list[str]:
    """Gives a network the weights of a file, layer by layer, as Keras's files number the layers of each class.

    Nothing in the file is executed: of a .keras file only the weights are read, and the network is hpcdl's. A layer
    keeps its random start where the file has none of its kind and place or one of another shape, as a classifier of
    other classes. Nothing is loaded where an error is raised.

    Args:
        model: built.
        path: a .keras or .weights.h5 file, or "imagenet" for what Keras downloads for its applications.

    Returns:
        Names of the layers that kept their random start.

    Raises:
        ConfigError: no such file, it is damaged, or fewer than half of the network's layers are in it.
    """
    with TemporaryDirectory(prefix="hpcdl-weights-") as folder:
        # Keras writes and reads its own layout; between, arrays are exchanged in the file.
        own = Path(folder) / "own.weights.h5"
        model.save_weights(own)
        if str(path) == IMAGENET:
            source = _download(model, Path(folder))
        else:
            source = _weights_file(Path(path).expanduser(), Path(folder))
        kept = _exchange(own, source, str(path))
        model.load_weights(own)
    return kept


def freeze(model: keras.Model, trainable: str) -> None:
    """Chooses the layers that are trained. A frozen batch normalisation uses its moving statistics and keeps them.

    The optimizer must be built, and the model compiled, afterwards.

    Args:
        model: built.
        trainable: "all"; "head": the layers with weights after the last pooling or flattening that has any after it,
            or the last one with weights; "head+N": and the N layers with weights before those.

    Raises:
        ConfigError: another word, or more layers than there are.
    """
    match = re.fullmatch(r"all|head(?:\+([1-9][0-9]{0,5}))?", trainable)
    if not match:
        raise ConfigError(
            f"trainable={trainable!r}", "all, head, or head+N with N from 1, as head+2", "choose one of these"
        )
    # One by one: TensorFlow ignores `model.trainable = True` where that is so already, whatever the layers say.
    for layer in model._flatten_layers():
        layer.trainable = True
    if trainable == "all":
        return
    before = _before_head(model)
    more = int(match[1] or 0)
    if more > len(before):
        raise ConfigError(
            f"trainable={trainable!r} for {model.name}, which has {len(before)} layers with weights before its head",
            f"head, or head+N with N up to {len(before)}",
            "choose fewer layers, or all",
        )
    for layer in before[: len(before) - more]:
        layer.trainable = False


def _before_head(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers with weights that come before the classifier, in the order of the forward pass."""
    last = max(place for place, layer in enumerate(model.layers) if layer.weights)
    gathers = [place for place, layer in enumerate(model.layers) if re.search("Pooling|Flatten", type(layer).__name__)]
    head = max((place for place in gathers if place < last), default=last)
    return [layer for layer in model.layers[:head] if layer.weights]


def _download(model: keras.Model, folder: Path) -> Path:
    """A file with the weights that Keras downloads for the network."""
    if model.name not in APPLICATIONS:
        raise ConfigError(
            f"model.weights={IMAGENET} for {model.name}",
            "a network of keras.applications, for only those have weights to download",
            "choose one that `hpcdl models list` shows with keras.applications, or give a weights file",
        )
    target = folder / "download.weights.h5"
    try:
        pretrained(model.name, model.input_shape[1:], model.output_shape[-1]).save_weights(target)
    except Exception as error:  # Keras raises Exception itself where it cannot download
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(
            f"model.weights={IMAGENET} for {model.name}: {told}",
            "a network connection, and images that Keras has weights for, in 3 channels",
            f"download it elsewhere, as `keras.applications.{model.name}().save_weights('{model.name}.weights.h5')`, "
            "and give that file's path",
        ) from error
    return target


def _weights_file(path: Path, folder: Path) -> Path:
    """The .weights.h5 file of a path: itself, or what a .keras file holds, unpacked into a folder."""
    if not path.is_file():
        raise ConfigError(f"no weights file {path}", KERAS_FILE, "correct model.weights")
    if path.name.endswith(".weights.h5"):
        return path
    if path.suffix != ".keras":
        raise ConfigError(f"weights file {path}", KERAS_FILE, f"load it with the code that made it, and {SAVE_AGAIN}")
    target = folder / "given.weights.h5"
    with _told(path), zipfile.ZipFile(path) as archive:
        _refuse_lambda(path, json.loads(_open_member(archive, "config.json").read()))
        with _open_member(archive, MEMBER) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    return target


def _open_member(archive: zipfile.ZipFile, name: str) -> Any:
    """A member of a .keras file; one that claims a size out of all proportion is refused."""
    member = archive.getinfo(name)
    if member.file_size > LARGEST_MEMBER * max(member.compress_size, 1):
        raise ValueError(f"{name} of {member.file_size} bytes in {member.compress_size}")
    return archive.open(member)


def _refuse_lambda(path: Path, config: Any) -> None:
    """Refuses a network with code of its own in a layer: it would not be the same network here."""
    waiting = [config]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if each.get("class_name") == "Lambda":
                raise ConfigError(
                    f"{path}: a network with a Lambda layer, whose code is not run",
                    "a network of hpcdl's or keras.applications' layers",
                    "load it where it was made, replace that layer, and save its weights alone: "
                    "model.save_weights('x.weights.h5')",
                )
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """Tells what is wrong with a file as the user's error."""
    try:
        yield
    except DAMAGE as error:
        told = str(error).strip("'\"").partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{path}: damaged or of another kind: {told}", KERAS_FILE, SAVE_AGAIN) from error


def _exchange(own: Path, source: Path, label: str) -> list[str]:
    """Puts the arrays of a file in place of a network's own, and names the layers that it lacks.

    Args:
        own: the network's weights file, which is changed.
        source: the file that the user gave.
        label: what messages call that.
    """
    kept = []
    with h5py.File(own, "r+") as mine, _told(label), h5py.File(source, "r") as given:
        layers, theirs = _layers(mine), _layers(given)
        for path, values in layers.items():
            new = theirs.get(path, {})
            if {key: value.shape for key, value in new.items()} != {key: value.shape for key, value in values.items()}:
                kept.append(str(mine[path].attrs.get("name", path)))
                continue
            for key, value in new.items():
                values[key][...] = _read(path, key, value)
    if 2 * len(kept) > len(layers) or len(kept) == len(layers):
        raise ConfigError(
            f"{label}: weights for {len(layers) - len(kept)} of the network's {len(layers)} layers",
            "weights of the same network, at least of half of its layers",
            "choose the network that the file was saved from, or another file",
        )
    return kept


def _layers(file: Any) -> dict[str, Values]:
    """The arrays of each layer with weights, by its path in a file, and nothing of an optimizer."""
    layers: dict[str, Values] = {}

    def visit(name: str, item: Any) -> None:
        path, _, key = name.rpartition("/")
        if isinstance(item, h5py.Dataset) and not path.startswith("optimizer"):
            layers.setdefault(path, {})[key] = item

    file.visititems(visit)  # it follows no link to another file
    return layers


def _read(path: str, key: str, value: Any) -> Any:
    """An array of a file.

    Raises:
        ValueError: it lies in another file, or is not finite.
    """
    if value.external or value.is_virtual:
        raise ValueError(f"{path}/{key} lies in another file")
    array = np.asarray(value)
    if not np.isfinite(array).all():
        raise ValueError(f"{path}/{key} holds an infinity or NaN")
    # Keras's files for EfficientNetB0 to B7 have deviations where the layer takes variances, which Keras mends by
    # a layer of the networks that it downloads itself (github.com/tensorflow/tensorflow/issues/49930).
    if (path, key) == ("layers/normalization/vars", "1") and np.allclose(array, IMAGENET_STD, rtol=1e-3):
        return np.square(array)
    return array
