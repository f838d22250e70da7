"""YAML that a person wrote: read strictly, with errors that tell the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hpcdl.errors import ConfigError


class Loader(yaml.SafeLoader):
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


def read(path: Path, what: str, fix: str) -> str:
    """The text of a file.

    Args:
        path: the file.
        what: what it should be, for the error, as "a recipe in YAML".
        fix: how to come by one.

    Raises:
        ConfigError: it is not there or not readable.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no file {path}", what, fix) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: {error}", "a readable YAML file in UTF-8", "check the path and its permissions"
        ) from None


def parse(text: str, name: str, hint: str = "see `hpcdl recipes show cifar10-cnn`") -> dict[str, Any]:
    """The mapping that a YAML text holds.

    Args:
        text: YAML.
        name: of the file, for errors.
        hint: where a right one can be seen.

    Raises:
        ConfigError: it is no YAML, or no mapping.
    """
    try:
        document = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{name}{place}: {problem}", "valid YAML", f"correct {name}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{name}: {type(document).__name__}", "a mapping of keys to values", hint)
    return document
