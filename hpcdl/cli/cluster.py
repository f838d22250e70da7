"""What the commands around Slurm share: where the user's files are, what runs, who is asked."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpcdl.errors import ConfigError, LaunchError

if TYPE_CHECKING:
    from hpcdl.answer import Answer
    from hpcdl.config.schema import RunConfig
    from hpcdl.slurm.job import Request
    from hpcdl.submission.compose import Software

SLURM_SECONDS = 60.0

SiteName = Annotated[str, typer.Option("--site", help="A name from `hpcdl sites list`, or a YAML file.")]
RanksPerNode = Annotated[
    int | None, typer.Option("--ranks-per-node", help="Ranks on each node; default one a GPU, or one.")
]
Time = Annotated[str | None, typer.Option("--time", help="Longest run, as sbatch takes it; default one hour.")]
Account = Annotated[str | None, typer.Option("--account", help="Project that is charged.")]
Qos = Annotated[str | None, typer.Option("--qos", help="Quality of service; default the site's.")]
Partition = Annotated[str | None, typer.Option("--partition", help="Partition; default the site's.")]


def own_sites() -> Path:
    """The user's folder of sites: XDG_CONFIG_HOME/hpcdl/sites, by default ~/.config/hpcdl/sites."""
    return _home("XDG_CONFIG_HOME", ".config") / "hpcdl" / "sites"


def registry() -> Path:
    """Where submitted jobs are remembered: XDG_STATE_HOME/hpcdl/jobs, by default ~/.local/state/hpcdl/jobs."""
    return _home("XDG_STATE_HOME", ".local/state") / "hpcdl" / "jobs"


def ask(argv: Sequence[str]) -> Answer:
    """Runs a short command with this process's environment."""
    from hpcdl.launch import supervisor

    return supervisor.ask(argv, os.environ, seconds=SLURM_SECONDS)


def need_slurm() -> None:
    """Refuses to go on without Slurm's commands.

    Raises:
        LaunchError: no sbatch on the PATH.
    """
    import shutil

    if shutil.which("sbatch") is None:
        raise LaunchError(
            "no sbatch on the PATH",
            "Slurm's commands, on a login node",
            "log in to the cluster; `hpcdl submit --dry-run` prints the script anywhere",
        )


def software(container: str | None) -> Software:
    """What jobs run: this Python, the mpirun beside it or the one that the job's PATH has, an image.

    Raises:
        ConfigError: the image is not there.
    """
    from hpcdl.launch.mpirun import beside_python
    from hpcdl.launch.topology import is_root
    from hpcdl.submission.compose import Software

    if container is not None:
        image = Path(container).expanduser().absolute()
        if not image.is_file():
            raise ConfigError(f"--container {container}", "an image file", "`hpcdl container build` makes one")
        container = str(image)
    return Software(sys.executable, beside_python() or "mpirun", is_root(), container)


def request(config: RunConfig, **asked: Any) -> Request:
    """What the options ask for, with the recipe's threads."""
    from hpcdl.slurm.job import Request

    threads = config.launch.threads
    return Request(threads=None if threads == "auto" else threads, **asked)


def origin(request: Request) -> dict[str, Any]:
    """Where a submission comes from, for submission.json."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from hpcdl.submission.state import environment_state, git_state

    try:
        git = git_state(ask, Path.cwd())
    except LaunchError:  # no git on this machine
        git = None
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["hpcdl", *sys.argv[1:]]),
        "request": asdict(request),
        "git": git,
        "environment": environment_state(os.environ),
    }


def _home(variable: str, default: str) -> Path:
    told = os.environ.get(variable)
    return Path(told) if told else Path.home() / default
