"""Lines for Apptainer and SingularityCE: values in, argv out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpcdl.errors import LaunchError

Command = Literal["apptainer", "singularity"]
WHEELS = "/mnt"
"""Where recipes find their wheels: a folder that every base system has, since a bind makes none."""


def find_command(which: Callable[[str], str | None]) -> Command:
    """Apptainer, or SingularityCE where there is none.

    Args:
        which: as shutil.which.

    Raises:
        LaunchError: neither is there.
    """
    commands: tuple[Command, ...] = ("apptainer", "singularity")
    for command in commands:
        if which(command):
            return command
    raise LaunchError(
        "neither apptainer nor singularity on the PATH",
        "one of them, to build and run images",
        "load the site's module, or install Apptainer (apptainer.org)",
    )


def exec_argv(
    command: Command,
    image: str,
    inner: Sequence[str],
    *,
    gpu: str | None,
    binds: Sequence[str],
    env: Mapping[str, str],
) -> list[str]:
    """The line that runs a command inside of an image.

    Args:
        command: the program.
        image: path of the image.
        inner: argv of what runs inside.
        gpu: --nv or --rocm, which bring the GPU driver in; None for neither.
        binds: folders of the host, as /scratch or /host:/inside.
        env: variables inside; they win over the image's own.
    """
    return [
        command,
        "exec",
        *([gpu] if gpu else []),
        *[part for bind in binds for part in ("--bind", bind)],
        *[part for name, value in env.items() for part in ("--env", _setting(name, value))],
        image,
        *inner,
    ]


def _setting(name: str, value: str) -> str:
    """NAME=VALUE as --env reads it: a line of CSV, in which a comma would begin the next variable."""
    setting = f"{name}={value}"
    return '"' + setting.replace('"', '""') + '"' if set(value) & {",", '"', "\n"} else setting


@dataclass(frozen=True)
class Build:
    """What a build needs; all files lie in one folder, which is the builder's own."""

    recipe: Path
    """The .def file."""
    image: Path
    """The .sif file that will be."""
    wheels: Path
    """Folder of wheels."""
    arguments: Mapping[str, str]
    """What stands in braces in the recipe."""
    user: tuple[str, int] | None = None
    """Name and group id of an ordinary user to build as, where root may not."""
    fakeroot: bool = True
    """False for a root that may do what root does."""


def build_argv(command: Command, build: Build) -> list[str]:
    """The line that builds an image."""
    folder = str(build.image.parent)
    return [
        *(["setpriv", f"--reuid={build.user[0]}", f"--regid={build.user[1]}", "--init-groups"] if build.user else []),
        # The builder's home may not be there, and a build leaves gigabytes in its folders.
        *["env", f"HOME={folder}", f"{command.upper()}_TMPDIR={folder}", f"{command.upper()}_CACHEDIR={folder}/cache"],
        command,
        "build",
        *(["--fakeroot"] if build.fakeroot else []),
        "--bind",
        f"{build.wheels}:{WHEELS}",
        # Read faster than gzip, and written several times as fast; kernels mount it since 4.14.
        "--mksquashfs-args",
        "-comp zstd -Xcompression-level 6",
        *[part for name, value in build.arguments.items() for part in ("--build-arg", f"{name}={value}")],
        str(build.image),
        str(build.recipe),
    ]
