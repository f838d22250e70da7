"""The one module that starts processes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic
from types import FrameType

import psutil

from hpcdl.answer import NO_ANSWER, Answer
from hpcdl.errors import LaunchError

POLL_SECONDS = 0.2
END_SECONDS = 10.0
SAME_SECONDS = 1.0
"""Signals come along several ways: what comes within a second is the same."""
STOPPED = 75
"""Exit code of a job that a signal stopped in order, and that may be started again (EX_TEMPFAIL)."""


OUTER = ("OMPI_", "PMIX_", "PMI_", "PRTE_", *(f"HOROVOD_{name}" for name in ("RANK", "SIZE", "LOCAL_", "CROSS_")))
OUTER += ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_STEP_NUM_", "MPI_LOCAL")
FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
IN_ORDER = signal.SIGUSR2
"""Launchers pass it on to their ranks and go on; they end them at others."""
LEAVE_SECONDS = 100.0
"""Within which ranks that were asked to stop in order must have left."""


def run(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    log: Path | None = None,
    watch: Callable[[], None] | None = None,
    in_order: Callable[[str], None] | None = None,
    over: Callable[[], bool] = lambda: False,
) -> int:
    """Starts a launcher, waits, and answers its exit code.

    A signal to this process is passed on to the launcher, which ends its ranks.

    Args:
        argv: the command.
        environ: its whole environment.
        log: file for its output; None leaves it on this process's own.
        watch: called a few times a second while it runs, and once after.
        in_order: the ranks stop in order at IN_ORDER: a signal is passed on as that, and this hears what comes; they
            are ended at a second signal, or after LEAVE_SECONDS.
        over: asked a few times a second whether to wait no longer, and end all.

    Raises:
        LaunchError: the command cannot be started, or a signal ended it.
    """
    received: list[tuple[signal.Signals, float]] = []
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb")) if log else None
        try:
            # In a session of its own: else a terminal's Ctrl-C would reach it twice, from us and directly.
            process = subprocess.Popen(
                argv,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output and subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise LaunchError(
                f"{argv[0]}: {error.strerror}", "a program that can be started", "check the path"
            ) from None
        stack.callback(_end, process)

        def forward(number: int, frame: FrameType | None) -> None:
            first = not received
            if first or monotonic() - received[0][1] > SAME_SECONDS:
                process.send_signal(IN_ORDER if in_order and first else signal.SIGTERM if in_order else number)
            received.append((signal.Signals(number), monotonic()))

        for number in FORWARDED:
            if signal.getsignal(number) is signal.SIG_IGN:  # nohup
                continue
            stack.callback(signal.signal, number, signal.signal(number, forward))
        code, told = None, False
        while code is None:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(POLL_SECONDS)
            if watch:
                watch()
            if in_order and received and code is None:
                if not told:
                    told = True
                    in_order(
                        f"{received[0][0].name}: ranks that keep checkpoints write one and leave, within "
                        f"{LEAVE_SECONDS:g} s; once more, and they are ended"
                    )
                if monotonic() - received[0][1] > LEAVE_SECONDS:
                    break  # and so they are ended
            if code is None and over():
                break
    if received and code not in (0, STOPPED):
        ended = LaunchError(
            f"{received[0][0].name}, which ended the ranks", "the ranks to reach the end", "start again; records stay"
        )
        ended.lasting = True  # somebody wants it to end
        raise ended
    return code if code is not None else NO_ANSWER


def ask(argv: Sequence[str], environ: Mapping[str, str], *, seconds: float = 30.0, text: str = "") -> Answer:
    """Runs a short command to its end and answers what it said.

    Args:
        argv: the command.
        environ: its whole environment.
        seconds: after these it is ended, with code NO_ANSWER.
        text: for its standard input.

    Raises:
        LaunchError: the command cannot be started.
    """
    try:
        done = subprocess.run(
            argv,
            env=dict(environ),
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(NO_ANSWER, "", f"{argv[0]}: no answer in {seconds:g} s")
    except OSError as error:
        raise LaunchError(
            f"{argv[0]}: {error.strerror}", "a program that can be started", "check the path, or load its module"
        ) from None
    return Answer(done.returncode, done.stdout, done.stderr)


@contextmanager
def hold(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Starts a process that ends when its input does: on leaving, or when this process is gone, however it went.

    Args:
        argv: the command; it says a line when it is ready, or what is wrong.
        environ: its whole environment.

    Yields:
        Its process number, and that line, which is empty where it ended without one.

    Raises:
        LaunchError: the command cannot be started.
    """
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        try:  # in a session of its own: a terminal's Ctrl-C is for this process, which needs it until the end
            process = subprocess.Popen(
                argv, env=dict(environ), stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise LaunchError(
                f"{argv[0]}: {error.strerror}", "a program that can be started", "check the path"
            ) from None
        stack.callback(_let_go, process)
        line = process.stdout.readline() if process.stdout else b""
        yield process.pid, line.decode(errors="replace").strip()


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    _end(process)
    if process.stdout:
        process.stdout.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leaves no launcher behind, whatever happened here."""
    if process.poll() is None:
        process.terminate()  # mpirun ends its ranks; killed, it would leave them
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            below = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            for each in below:
                with suppress(psutil.NoSuchProcess):
                    each.kill()


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what an outer launcher told its own ranks: these are a new world."""

    def foreign(name: str) -> bool:
        return name.startswith(OUTER) and not name.startswith("OMPI_MCA_")

    return {name: value for name, value in environ.items() if not foreign(name)}
