"""The wheels that go into an image: found by the machine's own pip, with whatever index and proxy it is set up for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcdl.errors import ConfigError


def download_argv(pip: Sequence[str], requirements: Path, python: str, machine: str, wheels: Path) -> list[str]:
    """The line that fetches what a list names, for the image's Python instead of this one.

    Args:
        pip: how pip is started.
        requirements: the list, which names every package with its version.
        python: version of the image's Python, as 3.11.
        machine: as in uname -m.
        wheels: folder that gets them.
    """
    # glibc 2.36 is in Debian 12, and newer in NVIDIA's images. pip takes each tag by itself.
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (34, 28, 27, 17)] + [f"manylinux2014_{machine}"]
    return [
        *pip,
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        f"--python-version={python}",
        "--implementation=cp",
        *[f"--platform={platform}" for platform in platforms],
        f"--dest={wheels}",
        f"--requirement={requirements}",
    ]


def wheel_argv(pip: Sequence[str], uv: str | None, source: Path, wheels: Path) -> list[str]:
    """The line that makes hpcdl's own wheel from its source tree."""
    if uv:
        return [uv, "build", "--quiet", "--wheel", f"--out-dir={wheels}", str(source)]
    return [*pip, "wheel", "--quiet", "--no-deps", f"--wheel-dir={wheels}", str(source)]


def wheel_version(name: str) -> str:
    """hpcdl's version, from the name of its wheel.

    Raises:
        ConfigError: it is no wheel of hpcdl.
    """
    parts = name.removesuffix(".whl").split("-")
    if not name.endswith(".whl") or parts[0] != "hpcdl" or len(parts) != 5:
        raise ConfigError(f"wheel {name}", "a wheel of hpcdl, as hpcdl-0.1.0-py3-none-any.whl", "`uv build --wheel`")
    return parts[1]
