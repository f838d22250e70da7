"""Every key that a recipe may have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from hpcdl.config.schema import RunConfig, Section


def keys() -> Iterator[tuple[str, str, str]]:
    """(section.key, default as YAML has it or nothing for a required one, what it means), in the schema's order."""
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            for key, part in field.annotation.model_fields.items():
                yield f"{name}.{key}", _default(part), " ".join((part.description or "").split())
        else:
            yield name, _default(field), field.description or ""


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    return "" if field.is_required() else yaml.safe_dump(value, default_flow_style=True).split("\n")[0]
