"""From a validation error to what was received, what was expected and how to fix it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError

from hpcdl.errors import ConfigError


def explain(
    error: ValidationError,
    model: type[BaseModel],
    name: str,
    required: str = "name, data.source and model.name in every recipe",
) -> ConfigError:
    """Tells a validation's first problem.

    Args:
        error: what pydantic raised.
        model: the type that was validated.
        name: the file, as the user named it.
        required: the keys without a default, told where one is missing.
    """
    problem = error.errors()[0]
    section, path = locate(model, problem["loc"])
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(path[-1], section.model_fields, n=1)
        fix = f"did you mean {'.'.join([*path[:-1], near[0]])}?" if near else f"remove {key}"
        return ConfigError(f"{name}: unknown key {key}", "one of: " + ", ".join(section.model_fields), fix)
    if problem["type"] == "missing":
        return ConfigError(f"{name}: no {key}", required, f"add {key}")
    received, fix = f"{name}: {key}={problem['input']!r}", f"change {key}, in the file or on the command line ({key}=…)"
    if problem["type"] == "value_error":
        where, example = (f"keys of {key}", f"{key}.…") if key else ("sections", "section.key")
        received, fix = (
            f"{name}: {where} that do not go together",
            f"change them, in the file or on the command line ({example}=…)",
        )
    same_place = [other for other in error.errors() if locate(model, other["loc"])[1] == path]
    expected = " or ".join(dict.fromkeys(_expected(other["msg"]) for other in same_place))
    return ConfigError(received, expected, fix)


def locate(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[type[BaseModel], list[str]]:
    """The section that holds a key, and the key's path as a user writes it.

    Below a plain value pydantic's location goes on with the branch of a union ("int"), which
    users do not write, and with places in a list, which they do.
    """
    section, path = model, []
    inside = True
    for part in loc:
        if not inside:
            path += [str(part)] if isinstance(part, int) else []
            continue
        path.append(str(part))
        annotation = section.model_fields[str(part)].annotation if str(part) in section.model_fields else None
        inside = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and part != loc[-1]:
            section = annotation
    return section, path


def _expected(message: str) -> str:
    told = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return "true or false" if told.startswith("a valid boolean") else told
