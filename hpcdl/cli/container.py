"""hpcdl container: build an image, and see whether it fits a machine."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdl.cli.options import Json
from hpcdl.errors import ConfigError, HpcdlError

if TYPE_CHECKING:
    from hpcdl.answer import Answer
    from hpcdl.containers.apptainer import Build, Command
    from hpcdl.containers.recipes import Recipe

app = typer.Typer(no_args_is_help=True, help="Images of hpcdl for Apptainer and SingularityCE.")
ROOM = 6 * 2**30
"""Bytes that a build needs besides the image: wheels, what is unpacked of them, what is compressed."""


@app.command("build")
def build(
    kind: Annotated[str, typer.Argument(metavar="[cpu|gpu]", help="Which image.")] = "cpu",
    out: Annotated[Path | None, typer.Option("--out", help="The image; default hpcdl-KIND.sif.")] = None,
    mirror: Annotated[str | None, typer.Option("--mirror", help="Debian mirror; default this machine's apt's.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="NVIDIA's TensorFlow image, for gpu.")] = None,
    wheel: Annotated[Path | None, typer.Option("--wheel", help="hpcdl's wheel; default one of this source.")] = None,
    tmp: Annotated[Path | None, typer.Option("--tmp", help="Folder for some 6 GB while it builds.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the exact lines; start nothing.")] = False,
) -> None:
    """Build an image, as an ordinary user; root in a sandbox builds as one from /etc/subuid.

    \b
    Examples:
      hpcdl container build cpu --out hpcdl-cpu.sif
      hpcdl container build gpu --image REGISTRY/NAME:25.02-tf2-py3 --dry-run
    """
    from hpcdl.containers.apptainer import Build, build_argv, find_command
    from hpcdl.containers.mirror import debian_mirror
    from hpcdl.containers.recipes import RECIPES, arguments
    from hpcdl.containers.wheels import wheel_version

    if kind not in RECIPES:
        raise ConfigError(f"image {kind!r}", "cpu or gpu", "see `hpcdl container build --help`")
    recipe, out = RECIPES[kind], (out or Path(f"hpcdl-{kind}.sif")).absolute()
    if wheel is not None and not wheel.is_file():
        raise ConfigError(f"no wheel {wheel}", "a wheel of hpcdl", "`uv build --wheel`")
    version = wheel_version(wheel.name) if wheel else _version()
    command = find_command(shutil.which)
    values = arguments(recipe, version, mirror or debian_mirror(_apt_sources()), image)
    user, fakeroot = _builder()
    parent = (tmp or Path(gettempdir())).absolute()
    folder = parent / "hpcdl-container" if dry_run else _folder(parent, out, shared=user is not None)
    work = Build(folder / recipe.definition.name, folder / "image.sif", folder / "wheels", values, user, fakeroot)
    if dry_run:
        typer.echo("\n".join(map(shlex.join, [*_gather(recipe, wheel, work), build_argv(command, work)])))
        return
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _build(command, recipe, wheel, work, out)
    typer.echo(f"{out}: {out.stat().st_size / 2**20:.0f} MiB; see whether it fits: hpcdl container check {out}")


@app.command("check")
def check(
    image: Annotated[Path, typer.Argument(metavar="IMAGE.sif", help="An image.")],
    as_json: Json = False,
) -> None:
    """Compare this machine's MPI and PMIx with an image's, and say how ranks start: hybrid, bind or neither.

    \b
    Example:
      hpcdl container check hpcdl-cpu.sif
    """
    from hpcdl.containers.apptainer import find_command
    from hpcdl.containers.check import lines, look_at_host, look_at_image
    from hpcdl.containers.match import judge
    from hpcdl.errors import LaunchError
    from hpcdl.launch.mpirun import find_mpirun

    if not image.exists():
        raise ConfigError(f"no image {image}", "an image of Apptainer or SingularityCE", "`hpcdl container build`")
    command = find_command(shutil.which)
    inside = look_at_image(_ask, command, str(image))
    try:
        tools: Path | None = Path(find_mpirun(None)).parent
    except LaunchError:
        tools = None
    outside = look_at_host(lambda argv: _ask(argv, tools), str(tools.parent) if tools else None)
    verdict = judge(outside, inside)
    found = lines(outside, inside, verdict, _version())
    if as_json:
        typer.echo(json.dumps({"image": str(image), **asdict(verdict), "checks": [asdict(line) for line in found]}))
    else:
        for line in found:
            typer.echo(f"{line.status:8} {line.about:13} {line.said}")
            if line.mend:
                typer.echo(f"{'':22} {line.mend}")
    raise typer.Exit(1 if any(line.status == "failure" for line in found) else 0)


def _ask(argv: Sequence[str], tools: Path | None = None) -> Answer:
    """Asks a command, with an MPI's tools first on the path."""
    from hpcdl.launch.supervisor import ask, inherited

    path = os.pathsep.join([*([str(tools)] if tools else []), os.environ.get("PATH", os.defpath)])
    return ask(argv, {**inherited(os.environ), "PATH": path}, seconds=120)


def _version() -> str:
    from importlib.metadata import version

    return version("hpcdl")


def _apt_sources() -> list[str]:
    """What apt is told of its mirrors."""
    apt = Path("/etc/apt")
    paths = [
        apt / "sources.list",
        *sorted(apt.glob("sources.list.d/*.sources")),
        *sorted(apt.glob("sources.list.d/*.list")),
    ]
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths if os.access(path, os.R_OK)]


def _builder() -> tuple[tuple[str, int] | None, bool]:
    """As whom to build, if as another, and whether with --fakeroot."""
    import pwd

    from hpcdl.containers.builder import ordinary_user, root_is_whole

    if os.geteuid() != 0:
        return None, True
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    if root_is_whole(Path("/proc/self/status").read_text(encoding="utf-8"), last):
        return None, False
    subuid = Path("/etc/subuid")
    text = subuid.read_text(encoding="utf-8") if subuid.is_file() else ""
    homes = {account.pw_name: account.pw_dir for account in pwd.getpwall()}
    name = ordinary_user(text, {name for name, home in homes.items() if Path(home).is_dir()})
    return (name, pwd.getpwnam(name).pw_gid), True


def _folder(parent: Path, out: Path, *, shared: bool) -> Path:
    """A new folder to build in, after a look at the room, and at the way there where another user builds."""
    if not out.parent.is_dir() or not parent.is_dir():
        missing = parent if out.parent.is_dir() else out.parent
        raise ConfigError(f"no folder {missing}", "a folder that is there", f"mkdir -p {missing}")
    if (free := shutil.disk_usage(parent).free) < ROOM:
        raise ConfigError(
            f"{free / 2**30:.1f} GiB free in {parent}",
            f"{ROOM / 2**30:.0f} GiB while the image is built",
            "--tmp FOLDER",
        )
    closed = [folder for folder in (parent, *parent.parents) if not folder.stat().st_mode & 0o001]
    if shared and closed:
        raise ConfigError(
            f"{closed[0]}, which only its owner enters",
            "a folder that the ordinary user who builds can enter",
            f"--tmp FOLDER, or chmod a+x {closed[0]}",
        )
    return Path(mkdtemp(prefix="hpcdl-container-", dir=parent))


def _gather(recipe: Recipe, wheel: Path | None, work: Build) -> list[list[str]]:
    """The lines that fill the folder of wheels."""
    import platform

    from hpcdl.config.shipped import PACKAGE
    from hpcdl.containers.wheels import download_argv, wheel_argv

    source = PACKAGE.parent
    pip = _pip(source)
    download = download_argv(pip, recipe.requirements, recipe.python, platform.machine(), work.wheels)
    if wheel:
        return [["cp", str(wheel.absolute()), str(work.wheels)], download]
    if not (source / "pyproject.toml").is_file():
        raise ConfigError("hpcdl without its source tree", "its wheel, to go into the image", "--wheel FILE")
    uv = shutil.which("uv") or shutil.which(str(source / ".uv/bin/uv"))
    return [wheel_argv(pip, uv, source, work.wheels), download]


def _pip(source: Path) -> list[str]:
    """How pip is started: this Python's own, that of the source tree's uv, python3's, or uv's."""
    candidates = [[python, "-m", "pip"] for python in (sys.executable, str(source / ".uv/bin/python"), "python3")]
    for pip in [*candidates, ["uv", "tool", "run", "pip"]]:
        if shutil.which(pip[0]) and _ask([*pip, "--version"]).code == 0:
            return pip
    raise HpcdlError("no pip and no uv", "one of them, to fetch wheels", "python3 -m ensurepip, or install python3-pip")


def _build(command: Command, recipe: Recipe, wheel: Path | None, work: Build, out: Path) -> None:
    """Gathers wheels, builds, and puts the image in its place, whole or not at all."""
    from hpcdl.containers.apptainer import build_argv

    folder = work.image.parent
    work.wheels.mkdir()
    shutil.copy(recipe.definition, work.recipe)
    typer.echo(f"wheels: {recipe.requirements.name}, by this machine's pip", err=True)
    for argv in _gather(recipe, wheel, work):
        _start(argv, folder)
    if work.user:
        name, group = work.user
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, name, group)
    typer.echo(f"image: {recipe.definition.name}, by {command} as {work.user[0] if work.user else 'you'}", err=True)
    _start(build_argv(command, work), folder)
    beside = out.with_name(f".{os.getpid()}.{out.name}")
    try:
        shutil.copyfile(work.image, beside)
        beside.chmod(0o755)
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)


def _start(argv: Sequence[str], folder: Path) -> None:
    """Runs one line of a build; of one that fails, the end of what it said is told."""
    from hpcdl.launch.supervisor import run

    log = folder / "build.log"
    if code := run(argv, os.environ, log=log):
        said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise HpcdlError(
            "\n          ".join([f"exit code {code}, after", *said[-12:]]),
            "a step that succeeds",
            f"see what it says alone; --dry-run prints all steps; this one: {shlex.join(argv)}",
        )
