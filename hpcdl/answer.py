"""What a short command said: a value that its caller gets, whoever starts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

NO_ANSWER = 124
"""Code of a command that did not end in time, as of timeout(1)."""


@dataclass(frozen=True)
class Answer:
    """The end of a short command.

    Attributes:
        code: its exit code, or NO_ANSWER.
        out: what it wrote to its standard output.
        err: to its standard error.
    """

    code: int
    out: str
    err: str


Ask = Callable[[Sequence[str]], Answer]
"""Runs a command to its end: argv in. Raises LaunchError where it cannot be started."""
