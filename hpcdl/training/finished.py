"""A run that has ended: its recipe, its records, its model. Reading the records imports no TensorFlow."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcdl.checkpoint import WEIGHTS, pick
from hpcdl.config.load import load as load_recipe
from hpcdl.config.schema import RunConfig
from hpcdl.errors import RecordError
from hpcdl.models.registry import check
from hpcdl.records import read_json
from hpcdl.world import World

if TYPE_CHECKING:
    import keras

MODEL = "model.keras"
AGAIN = "name the folder of a run that has ended, or train with `hpcdl run`"


@dataclass(frozen=True)
class FinishedRun:
    """What a run left, beside its model."""

    folder: Path
    config: RunConfig
    environment: dict[str, Any]
    summary: dict[str, Any]
    """Empty where the run left none, or a checkpoint is looked at."""
    checkpoint: Path | None = None
    """In place of the model at the end."""

    @property
    def model_path(self) -> Path:
        """Where its model is."""
        return self.folder / MODEL if self.checkpoint is None else self.checkpoint / WEIGHTS


@dataclass(frozen=True)
class Network:
    """A run's trained model."""

    run: FinishedRun
    model: keras.Model

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that it takes."""
        height, width, channels = self.model.input_shape[1:]
        return height, width, channels

    @property
    def outputs(self) -> int:
        """Classes that it tells apart."""
        return int(self.model.output_shape[-1])


def read_run(folder: Path, checkpoint: str | None = None) -> FinishedRun:
    """Reads a run's records, and looks whether its model is there.

    Args:
        folder: of the run.
        checkpoint: newest, best, a name or a path: of which the weights are taken; None: the model at the end.

    Raises:
        CheckpointError: there is no such checkpoint, or it is not whole.
        RecordError: the folder is no run's, the run kept no model, or a record is damaged.
        ConfigError: config.yaml is not a recipe.
    """
    if not (folder / "config.yaml").is_file():
        told = f"{folder} without config.yaml" if folder.is_dir() else f"no folder {folder}"
        raise RecordError(told, f"a run's folder, with config.yaml and {MODEL}", AGAIN)
    config = load_recipe(str(folder / "config.yaml"))
    if checkpoint is not None:
        found = pick(folder / "checkpoints", checkpoint).path
        return FinishedRun(folder, config, _record(folder / "environment.json"), {}, found)
    if not (folder / MODEL).is_file():
        if not config.train.save:
            raise RecordError(
                f"no {MODEL} in {folder}, whose recipe says train.save=false",
                "a run that kept its model",
                "train again with train.save=true",
            )
        raise RecordError(f"no {MODEL} in {folder}", "a run that ended well, which writes it", AGAIN)
    environment = _record(folder / "environment.json")
    summary = _record(folder / "summary.json") if (folder / "summary.json").exists() else {}
    return FinishedRun(folder, config, environment, summary)


def load_network(run: FinishedRun) -> Network:
    """Loads a run's model to compute with it; no code in the file is executed, and no optimizer is made.

    The package that brings the network, if one does, is imported, for it may register layers of its own.

    Raises:
        RecordError: the file is damaged, holds layers that Keras does not know, or is no classifier of images.
    """
    import keras

    from hpcdl.models.registry import build
    from hpcdl.training.device import pin_gpu
    from hpcdl.training.snapshot import read_state

    pin_gpu(World())
    with suppress(Exception):  # then the file says which layer is not known
        entry = check(run.config.model.name)
        if entry.package:
            import_module(entry.module)
    path = run.model_path
    try:
        model: keras.Model
        if run.checkpoint is None:
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        else:
            network = read_state(run.checkpoint)["network"]
            model = build(run.config.model.name, tuple(network["shape"]), network["classes"])
            model.load_weights(path)
    except Exception as error:  # what Keras, zipfile and h5py raise for a damaged file is written nowhere
        raise RecordError(
            f"{path}: {_cause(error)}",
            "a model that Keras can load",
            "copy the file again, or train again; `hpcdl --debug` shows where it failed",
        ) from error
    if not _is_classifier(model):
        raise RecordError(
            f"{path}: a model from {model.input_shape} to {model.output_shape}",
            "a model from images (height, width, channels) to the probabilities of classes",
            AGAIN,
        )
    return Network(run, model)


def _cause(error: Exception) -> str:
    """The first line of what went wrong; Keras puts configurations of the whole model around it."""
    told = str(error).rpartition("Exception encountered: ")[2].partition(" Full object config: ")[0].strip()
    return (told.splitlines() or [type(error).__name__])[0]


def _is_classifier(model: keras.Model) -> bool:
    shapes = model.input_shape, model.output_shape
    lengths = [len(shape) if isinstance(shape, tuple) else 0 for shape in shapes]
    return lengths == [4, 2] and not any(None in shape[1:] for shape in shapes)


def _record(path: Path) -> dict[str, Any]:
    record = read_json(path, fix=AGAIN)
    if not isinstance(record, dict):
        raise RecordError(f"{path}: {type(record).__name__}", "a JSON object", AGAIN)
    return record
