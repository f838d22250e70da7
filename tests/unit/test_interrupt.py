"""What asks a rank to stop, and what ends one that does nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hpcdl.training import interrupt
from hpcdl.training.interrupt import SIGNALS, Interrupt


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_to_stop(number: signal.Signals) -> None:
    asked = Interrupt()
    asked.listen()
    assert asked.asked is None
    os.kill(os.getpid(), number)
    assert asked.asked == number.name
    os.kill(os.getpid(), number)  # the same one, by another way
    assert asked.asked == number.name


def test_a_second_signal_leaves_at_once() -> None:
    code = (
        "import os, signal, time\n"
        "from hpcdl.training import interrupt\n"
        "interrupt.ONE_SECOND = 0.0\n"
        "asked = interrupt.Interrupt(); asked.listen()\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.01)\n"
        "print(asked.asked, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("SIGTERM\n", -signal.SIGTERM)


def test_a_time_limit_asks_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(interrupt, "monotonic", lambda: now)
    asked = Interrupt()
    asked.limit(60.0)
    now = 159.0
    assert asked.asked is None
    now = 160.0
    assert asked.asked == "the time limit of 60 s"
    asked.limit(None)
    assert asked.asked is None


def test_the_end_of_a_job_asks_ahead_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(interrupt, "monotonic", lambda: now)
    monkeypatch.setattr(interrupt, "time", lambda: 1e9 + now)
    asked, short = Interrupt(), Interrupt()
    asked.limit(None, ends=1e9 + 100 + 3600)
    short.limit(1000.0, ends=1e9 + 100 + 60)
    now = 100 + 53.9
    assert short.asked is None
    now = 100 + 54.1
    assert short.asked
    now = 100 + 3479.0
    assert asked.asked is None
    now = 100 + 3481.0
    assert asked.asked


BUSY = """
import sys, time
from hpcdl.training.watchdog import Watchdog
dog = Watchdog(2.0, lambda error: print("told:", error.received, flush=True))
for number in range(8):
    dog.beat(f"update {number}")
    time.sleep(0.4)
"""


def dogged(then: str) -> subprocess.CompletedProcess[str]:
    code = BUSY + then
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_a_rank_that_does_nothing_is_ended_with_its_stacks() -> None:
    done = dogged("def stuck():\n    while True:\n        time.sleep(60)\nstuck()")
    assert done.returncode == 1
    assert done.stdout == "told: nothing done for 2 s; the last was update 7\n"
    assert "in stuck" in done.stderr and "hpcdl: nothing done for 2 s" in done.stderr


def test_a_rank_whose_interpreter_is_held_is_ended_too() -> None:
    """A library that keeps the interpreter lets no thread of Python's run."""
    done = dogged("import ctypes\ndef held():\n    ctypes.PyDLL(None).sleep(100)\nheld()")
    assert done.returncode == 1 and "Timeout" in done.stderr and "in held" in done.stderr


def test_what_may_take_longer_is_waited_for_once() -> None:
    done = dogged("dog.beat('reading', 5.0); time.sleep(4); dog.beat('read'); time.sleep(60)")
    assert done.returncode == 1
    assert done.stdout == "told: nothing done for 2 s; the last was read\n"


def test_a_rank_that_works_is_left_alone() -> None:
    done = dogged("dog.stop(); time.sleep(4)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
