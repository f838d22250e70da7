"""A pool of processes: tasks spread over them, how far they are, and that none outlives the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait as wait_for
from time import monotonic
from typing import Any, TypeVar

import numpy as np

from hpcdl.errors import DataError

PERIOD = 0.2
"""Seconds between two looks at how far the work is."""


@dataclass(frozen=True)
class Counts:
    """How far the work is."""

    done: int = 0
    """Images."""
    bad: int = 0
    """Of them, damaged."""
    kept: int = 0
    """Of those done, the ones that an earlier call wrote."""


Tick = Callable[[Counts], None]
Slots = Any
"""Three integers a task, in memory that processes share."""
T = TypeVar("T")
R = TypeVar("R")


def spread(work: Callable[[T, Tick], R], tasks: Sequence[T], workers: int, watch: Callable[[Counts], None]) -> list[R]:
    """Does tasks in several processes; with one worker, in this one.

    Processes start afresh (spawn), for threads of this one do not survive a fork. Should this process end in any way,
    or be interrupted, they end too.

    Args:
        work: what does a task; it can be pickled.
        tasks: what to do.
        workers: processes.
        watch: is told now and then how far all tasks are.

    Returns:
        What came of each task, in their order.

    Raises:
        DataError: a process was killed, or what `work` raises, first come.
    """
    if not tasks:
        return []
    slots = multiprocessing.get_context("spawn").RawArray("q", 3 * len(tasks))

    def tell() -> None:
        watch(Counts(*np.frombuffer(slots, np.int64).reshape(-1, 3).sum(axis=0).tolist()))

    workers = min(workers, len(tasks))
    results = _here(work, tasks, slots, tell) if workers == 1 else _elsewhere(work, tasks, slots, tell, workers)
    tell()
    return results


def _here(work: Callable[[T, Tick], R], tasks: Sequence[T], slots: Slots, tell: Callable[[], None]) -> list[R]:
    last = monotonic()

    def tick(number: int, counts: Counts) -> None:
        nonlocal last
        slots[3 * number : 3 * number + 3] = counts.done, counts.bad, counts.kept
        if monotonic() - last > PERIOD:
            last = monotonic()
            tell()

    return [work(task, partial(tick, number)) for number, task in enumerate(tasks)]


def _elsewhere(
    work: Callable[[T, Tick], R], tasks: Sequence[T], slots: Slots, tell: Callable[[], None], workers: int
) -> list[R]:
    before = multiprocessing.active_children()
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (work, slots))
    try:
        with _uninterrupted():
            futures = [pool.submit(_do, number, task) for number, task in enumerate(tasks)]
        pending = set(futures)
        while pending:
            done, pending = wait(pending, PERIOD, FIRST_EXCEPTION)
            for future in done:
                future.result()
            tell()
        return [future.result() for future in futures]
    except BaseException as error:
        for process in multiprocessing.active_children():
            if process not in before:
                process.kill()  # what it has not finished is not missed
        if isinstance(error, BrokenProcessPool):
            raise DataError(
                f"a worker process that was killed, one of {workers}",
                "memory for all of them",
                "choose fewer --workers, and run the same line again: what is finished is kept",
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back; processes that are started meanwhile never get it, so that this one alone answers it."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


_work: Callable[[Any, Tick], Any]
_slots: Slots


def _begin(work: Callable[[Any, Tick], Any], slots: Slots) -> None:
    """Readies a worker process."""
    global _work, _slots
    _work, _slots = work, slots
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _do(number: int, task: Any) -> Any:
    def tick(counts: Counts) -> None:
        _slots[3 * number : 3 * number + 3] = counts.done, counts.bad, counts.kept

    return _work(task, tick)
