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
        document = _parse(_read(path), str(path))
    else:
        document = _parse(recipe_text(config), config)
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


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML would quietly keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} appears twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"no file {path}", "a recipe in YAML", "`hpcdl recipes copy NAME` writes one to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: {error}", "a readable YAML file in UTF-8", "check the path and its permissions"
        ) from None


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        document = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{name}{place}: {problem}", "valid YAML", f"correct {name}") from None
    if not isinstance(document, dict):
        raise ConfigError(
            f"{name}: {type(document).__name__}",
            "a mapping with name, data and model",
            "see `hpcdl recipes show cifar10-cnn`",
        )
    return document


def _override(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key or any(not part for part in key.split(".")):
        raise ConfigError(
            f"{override!r}", "section.key=value, for example train.epochs=1", "write the override with one ="
        )
    try:
        value = yaml.load(text, _Loader)
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
