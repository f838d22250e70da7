"""A job script from a template: pure. Every value is quoted here, once."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hpcdl.config.shipped import shipped
from hpcdl.errors import ConfigError

TEMPLATES = shipped("slurm")
WIDTH = 100


def render(template: str, **values: Any) -> str:
    """The script's text.

    Args:
        template: a file of `slurm/`, as "train.sbatch.j2".
        values: what it names. The filters `sh` (one word) and `argv` (a command) quote for bash;
            `exported` makes mpirun's -x of variables.

    Raises:
        ConfigError: a value that no script can carry.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"sh": quote, "argv": argv, "exported": exported}
    return environment.get_template(template).render(**values)


def quote(word: object) -> str:
    """One word for bash, whatever it holds.

    Raises:
        ConfigError: a NUL, which neither a script nor a command line can carry.
    """
    text = str(word)
    if "\0" in text:
        raise ConfigError(f"{text!r}", "text without a NUL", "remove it")
    return shlex.quote(text)


def argv(words: Sequence[object]) -> str:
    r"""A command for bash, each word quoted, over several lines with \ at the ends."""
    return _lines([quote(word) for word in words])


def exported(names: Iterable[str]) -> str:
    """mpirun's -x for each variable, sorted: it takes none along by itself."""
    return _lines([f"-x {name}" for name in sorted(names)])


def _lines(parts: Sequence[str]) -> str:
    lines, line = [], ""
    for part in parts:
        if line and len(line) + len(part) + 1 > WIDTH:
            lines.append(line)
            line = ""
        line = f"{line} {part}".strip()
    return " \\\n  ".join([*lines, line])
