"""Networks of other installed packages, which declare them under the entry point group `hpcdl.models`.

A package's pyproject.toml says `[project.entry-points."hpcdl.models"]` and `mynet = "mypackage.nets:mynet"`. That
function takes the shape (height, width, channels) of an image and the number of classes, and returns a built
keras.Model whose output are probabilities (images, classes) in float32: a softmax with dtype="float32".
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from typing import TYPE_CHECKING

from hpcdl.errors import ConfigError, HpcdlError
from hpcdl.models.entry import Entry, Shape

if TYPE_CHECKING:
    import keras

GROUP = "hpcdl.models"


def packaged() -> list[tuple[str, Entry]]:
    """Name and entry of each network that an installed package declares; imports nothing of the packages."""
    found = []
    for point in entry_points(group=GROUP):
        module, _, function = (part.strip() for part in point.value.partition(":"))
        package = point.dist.name if point.dist else "an unnamed package"
        source = f"package {package}, {point.value}"
        entry = Entry(module, function, f"package {package}", None, (32, 32, 3), 10, source, None, package=package)
        found.append((point.name, entry))
    return sorted(found, key=lambda each: each[0])


def build_packaged(name: str, entry: Entry, shape: Shape, classes: int) -> keras.Model:
    """The network that a package's function makes.

    Args:
        name: the entry point's.
        entry: of `packaged`.
        shape: (height, width, channels).
        classes: that the network tells apart.

    Raises:
        ConfigError: the function is not there, fails, or makes something else.
    """
    place = f"{entry.module}:{entry.function}"
    try:
        builder = attrgetter(entry.function)(import_module(entry.module))
        model: keras.Model = builder(shape, classes)
        made = _tell(model, shape)
    except HpcdlError:
        raise
    except Exception as error:  # a package's code may raise anything
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(
            f"model.name={name!r} of the package {entry.package}: {told}",
            f"a function (shape, classes) -> keras.Model at {place}",
            f"mend or uninstall {entry.package}; `hpcdl --debug` shows where it failed",
        ) from error
    if made != f"a model with output float32 {(None, classes)}":
        raise ConfigError(
            f"model.name={name!r} of the package {entry.package}: {place} made {made}",
            f"a built keras.Model with output float32 {(None, classes)}",
            'end the network in Dense(classes, activation="softmax", dtype="float32")',
        )
    return model


def _tell(model: object, shape: Shape) -> str:
    """What a function made, in words."""
    import keras

    if not isinstance(model, keras.Model):
        return f"{type(model).__name__} and no model"
    if not model.built:
        return "a model that is not built"
    output = model.compute_output_spec(keras.KerasTensor((None, *shape)))
    return f"a model with output {getattr(output, 'dtype', '')} {getattr(output, 'shape', output)}"
