"""Words of `hpcdl bench allreduce`'s command line as values. Pure."""

from __future__ import annotations

import re

from hpcdl.config.engines import resolve
from hpcdl.errors import ConfigError

UNITS = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmg", 1)
    for suffix, base in (("ib", 1024), ("i", 1024), ("b", 1000))
}
SIZES = "1KiB,8KiB,64KiB,512KiB,4MiB,32MiB,100MiB"
COMPRESSIONS = {"none": "none", "fp16": "fp16", "float16": "fp16", "bf16": "bf16", "bfloat16": "bf16"}
"""Recipes' names of them, and TensorFlow's."""


def parse_bytes(text: str) -> tuple[int, ...]:
    """Sizes from "1KiB,100MiB", sorted.

    Raises:
        ConfigError: one is no size, comes twice, or holds no two float32 values for each half of the buffer.
    """
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)\s*([a-zA-Z]*)", part.strip(), re.ASCII)
        unit = UNITS.get(match[2].lower()) if match else None
        size = int(match[1]) * unit if match and unit else 0
        if size < 8 or size % 4:
            raise ConfigError(
                f"--bytes {text}, where {part!r} is no size",
                "whole float32 values, 8 bytes or more: numbers with B, KiB, MiB, GiB, kB, MB or GB",
                "for example --bytes 1KiB,1MiB,100MiB",
            )
        found.append(size)
    if len(set(found)) != len(found):
        raise ConfigError(f"--bytes {text}", "each size once", "leave out what comes twice")
    return tuple(sorted(found))


def parse_engines(text: str | None) -> tuple[str, ...]:
    """horovod and mpi, or those that are named; without, mpi and, where it is installed, horovod.

    Raises:
        ConfigError: no such engine, or not installed.
    """
    if text is None:
        return tuple(dict.fromkeys(("mpi", resolve("auto", 2))))
    names = [part.strip() for part in text.split(",")]
    if unknown := [name for name in names if name not in ("horovod", "mpi")]:
        raise ConfigError(
            f"--engines {text}, where {unknown[0]!r} is none", "mpi, horovod or both", "for example --engines mpi"
        )
    return tuple(dict.fromkeys(resolve(name, 2) for name in names))


def parse_compressions(text: str) -> tuple[str, ...]:
    """none, fp16 and bf16, as recipes name them.

    Raises:
        ConfigError: no such compression.
    """
    names = [part.strip() for part in text.split(",")]
    if unknown := [name for name in names if name not in COMPRESSIONS]:
        raise ConfigError(
            f"--compression {text}, where {unknown[0]!r} is none",
            f"one or more of {', '.join(COMPRESSIONS)}",
            "for example --compression none,fp16",
        )
    return tuple(dict.fromkeys(COMPRESSIONS[name] for name in names))


def size_words(count: int) -> str:
    """100 MiB from 104857600: the largest unit that leaves a short number."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            return f"{count / 1024**power:.4g} {unit}"
    return f"{count} B"


def second_words(seconds: float) -> str:
    """12.3 us, 4.56 ms or 1.23 s."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"
