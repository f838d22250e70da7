"""The networks by name: hpcdl's own, those of keras.applications, those of installed packages.

Looking at the list imports neither TensorFlow nor a package.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from hpcdl.errors import ConfigError
from hpcdl.models.applications import APPLICATIONS, MODULE, build_application
from hpcdl.models.entry import Entry, Shape
from hpcdl.models.own import MODELS
from hpcdl.models.packages import GROUP, build_packaged, packaged

if TYPE_CHECKING:
    import keras

__all__ = ["APPLICATIONS", "MODELS", "Entry", "build", "catalog", "check", "is_clash"]


def catalog() -> list[tuple[str, Entry]]:
    """Every name and entry; one that two claim, whatever its case, is there twice, and `check` refuses it."""
    return [*MODELS.items(), *APPLICATIONS.items(), *packaged()]


def is_clash(name: str, networks: list[tuple[str, Entry]]) -> bool:
    """Whether several networks of a catalog claim a name."""
    return sum(each.casefold() == name.casefold() for each, _ in networks) > 1


def check(name: str) -> Entry:
    """The entry of a name, in whatever case.

    Raises:
        ConfigError: no network has that name, or several have.
    """
    networks = catalog()
    entries = [entry for each, entry in networks if each.casefold() == name.casefold()]
    if len(entries) > 1:
        package = entries[-1].package
        claim = " and of ".join(each.package or each.module.partition(".models")[0] for each in entries)
        raise ConfigError(
            f"model.name={name!r}, a network of {claim}",
            "one network of that name",
            f"rename the one of {package} in its entry points {GROUP}, or uninstall {package}",
        )
    if not entries:
        names = {each.casefold(): each for each, _ in networks}
        near = [repr(names[each]) for each in get_close_matches(name.casefold(), names, n=3)]
        others = [each for each, entry in networks if entry.package]
        raise ConfigError(
            f"model.name={name!r}",
            f"one of: {', '.join([*MODELS, *others])}; or one of the {len(APPLICATIONS)} of keras.applications",
            f"did you mean {' or '.join(near)}?" if near else "`hpcdl models list` shows what there is",
        )
    return entries[0]


def build(name: str, shape: Shape, classes: int) -> keras.Model:
    """Builds a network with random weights; its output are probabilities (images, classes) in float32.

    Args:
        name: in whatever case.
        shape: (height, width, channels) of the images.
        classes: that the network tells apart.

    Raises:
        ConfigError: there is no such network, or the images are too small for it.
    """
    entry = check(name)
    height, width, _ = shape
    if min(height, width) < entry.minimum:
        raise ConfigError(
            f"images of {height} x {width} pixels for model.name={name!r}",
            f"at least {entry.minimum} x {entry.minimum}",
            f"set data.size={entry.minimum} or more, or choose another network",
        )
    if entry.package:
        return build_packaged(name, entry, shape, classes)
    if entry.module == MODULE:
        return build_application(entry.function, shape, classes)
    model: keras.Model = getattr(import_module(entry.module), entry.function)(shape, classes)
    return model
