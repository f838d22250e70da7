"""Slurm's way to write durations."""

from __future__ import annotations

import re

from hpcdl.errors import ConfigError

FORMS = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


def parse_time(text: str, name: str = "--time") -> int:
    """Seconds of a duration as `man sbatch` writes them: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S.

    Raises:
        ConfigError: no such form, or nothing at all.
    """
    found = FORMS.fullmatch(text.strip())
    if found is None:
        raise _refuse(name, text)
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise _refuse(name, text)
    return total


def format_time(seconds: int) -> str:
    """D-HH:MM:SS, without the days where there are none."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{hour:02}:{minute:02}:{second:02}"


def _refuse(name: str, text: str) -> ConfigError:
    return ConfigError(
        f"{name} {text!r}",
        "a duration above 0 as Slurm writes it: 90 (minutes), 01:30:00 or 1-12:00:00",
        "give it as HH:MM:SS",
    )
