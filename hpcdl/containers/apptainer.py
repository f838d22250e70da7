"""Temporary."""

from collections.abc import Mapping, Sequence


def exec_argv(
    command: str, image: str, inner: Sequence[str], *, gpu: str | None, binds: Sequence[str], env: Mapping[str, str]
) -> list[str]:
    """Temporary."""
    return [
        command,
        "exec",
        *([gpu] if gpu else []),
        *[part for bind in binds for part in ("--bind", bind)],
        image,
        *inner,
    ]
