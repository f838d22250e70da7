"""From a recipe's name or file and key=value overrides to a checked RunConfig."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hpcdl.config.explain import explain
from hpcdl.config.schema import LaunchConfig, RunConfig
from hpcdl.config.yamlfile import Loader, parse, read
from hpcdl.errors import ConfigError

RECIPES = files("hpcdl.config") / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that ship with hpcdl, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in RECIPES.iterdir() if entry.name.endswith(".yaml"))


def recipe_text(name: str) -> str:
    """The YAML text of a shipped recipe, comments included.

    Raises:
        ConfigError: no recipe has that name.
    """
    names = recipe_names()
    if name not in names:
        near = get_close_matches(name, names, n=1)
        raise ConfigError(
            f"recipe {name!r}",
            "a YAML file, or one of: " + ", ".join(names),
            f"did you mean {near[0]!r}?" if near else "`hpcdl recipes list` shows what there is",
        )
    return (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")


def load(config: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a recipe and applies overrides.

    Args:
        config: a shipped recipe's name, or the path of a YAML file (with .yaml, .yml or a slash).
        overrides: "section.key=value", the value in YAML ("train.epochs=1", "data.augment=[flip]").

    Raises:
        ConfigError: the file, a key or a value is not usable; it names the key and what is valid.
    """
    path = Path(config)
    if path.suffix in {".yaml", ".yml"} or os.sep in config:
        text = read(path, "a recipe in YAML", "`hpcdl recipes copy NAME` writes one to start from")
        document = parse(text, str(path))
    else:
        document = parse(recipe_text(config), config)
    for override in overrides:
        _override(document, override)
    return _validate(document, config)


def launch_config(threads: int | None, binding: str | None) -> LaunchConfig:
    """The launch section that the options of a script's run make.

    Raises:
        ConfigError: a value that is not usable.
    """
    given = {name: value for name, value in (("threads", threads), ("binding", binding)) if value is not None}
    try:
        return LaunchConfig.model_validate(given)
    except ValidationError as error:
        raise explain(error, LaunchConfig, "--threads and --binding") from None


def dump(config: RunConfig) -> str:
    """The resolved recipe as YAML, which `load` reads back to an equal value."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key or any(not part for part in key.split(".")):
        raise ConfigError(
            f"{override!r}", "section.key=value, for example train.epochs=1", "write the override with one ="
        )
    try:
        value = yaml.load(text, Loader)
    except yaml.YAMLError:
        raise ConfigError(
            f"{override!r}", "a value in YAML, for example 1, 0.1, [flip] or null", "quote the value"
        ) from None
    *sections, last = key.split(".")
    target = document
    for section in sections:
        inner = target.get(section)
        if inner is None:
            inner = target[section] = {}
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{override!r}", f"{section!r} to hold further keys", f"set {section} itself, or check its name"
            )
        target = inner
    target[last] = value


def _validate(document: dict[str, Any], name: str) -> RunConfig:
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        raise explain(error, RunConfig, name) from None
