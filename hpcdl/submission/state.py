"""What a run came from: the state of the user's sources, and the environment of the submission."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from hpcdl.answer import Answer, Ask

KEPT = (
    *("HPCDL_", "TF_", "OMP_", "OMPI_MCA_", "HOROVOD_", "NCCL_", "UCX_", "CUDA_VISIBLE", "KERAS_BACKEND"),
    *("LOADEDMODULES", "VIRTUAL_ENV", "CONDA_PREFIX", "XLA_FLAGS"),
)
"""Variables that change what a run does. Others are not kept: there may be secrets among them."""


def git_state(ask: Ask, folder: Path) -> dict[str, Any] | None:
    """Commit, branch and changes of the git repository that a folder is in.

    Args:
        ask: runs a command.
        folder: where the user stands.

    Returns:
        commit, branch, changed (lines of `git status --short`) and diff against the commit; None where there is no
        repository, or no git.
    """

    def git(*words: str) -> Answer:
        return ask(["git", "-C", str(folder), *words])

    commit = git("rev-parse", "HEAD")
    if commit.code:
        return None
    return {
        "commit": commit.out.strip(),
        "branch": git("rev-parse", "--abbrev-ref", "HEAD").out.strip(),
        "changed": git("status", "--short").out.splitlines(),
        "diff": git("diff", "HEAD").out,
    }


def environment_state(environ: Mapping[str, str]) -> dict[str, Any]:
    """Python, its packages with their versions, the host, and the variables that change what a run does."""
    return {
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "host": platform.node(),
        "os": platform.platform(),
        "packages": dict(sorted({each.metadata["Name"]: each.version for each in distributions()}.items())),
        "variables": {name: value for name, value in sorted(environ.items()) if name.startswith(KEPT)},
    }
