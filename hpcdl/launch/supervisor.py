"""The one module that starts processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from hpcdl.errors import LaunchError

POLL_SECONDS = 0.2


def run(
    argv: Sequence[str], environ: Mapping[str, str], *, log: Path | None = None, watch: Callable[[], None] | None = None
) -> int:
    """Starts a launcher, waits, and answers its exit code.

    SIGTERM and SIGINT are passed on to the launcher, which ends its ranks.

    Args:
        argv: the command.
        environ: its whole environment.
        log: file for its output; None leaves it on this process's own.
        watch: called a few times a second while it runs, and once after.

    Raises:
        LaunchError: the command cannot be started.
    """
    output = log.open("wb") if log else None
    try:
        process = subprocess.Popen(
            argv, env=dict(environ), stdin=subprocess.DEVNULL, stdout=output, stderr=output and subprocess.STDOUT
        )
    except OSError as error:
        raise LaunchError(f"{argv[0]}: {error.strerror}", "a program that can be started", "check the path") from None
    finally:
        if output:
            output.close()

    def forward(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    # A terminal sends SIGINT to the whole foreground group, the launcher included.
    previous = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while True:
            try:
                code = process.wait(POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if watch:
                    watch()
        if watch:
            watch()
        return code
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.kill()
            process.wait()


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what an outer launcher told its own ranks: these are a new world."""
    foreign = ("OMPI_", "PMIX_", "PRTE_", "HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL", "HOROVOD_CROSS")
    return {
        name: value for name, value in environ.items() if not name.startswith(foreign) or name.startswith("OMPI_MCA_")
    }


def is_root() -> bool:
    """True for the superuser."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
