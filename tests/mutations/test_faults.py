"""The parallel tests can fail: each of these faults, put into a copy of hpcdl, makes one fail.

Without a fault they pass, in tests/parallel, and one selection here: a copy is not itself what they notice.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Selection:
    """Tests of one module in one world, after the work that they judge."""

    module: str
    work: str
    tests: str
    world: str = "mpi-2"


FIT = Selection("test_fit.py", "even", "weights_and_logs and even")
RAGGED = Selection("test_fit.py", "sequential", "weights_and_logs and sequential", "mpi-3")
ACCUMULATION = Selection("test_fit.py", "accumulation", "weights_and_logs and mpi-2-accumulation")
SMALL = Selection("test_recipes.py", "small", "statistics_and_dropout")
DECIDING = Selection("test_api.py", "deciding", "decisions_are_alike")
WRITING = Selection("test_api.py", "writing", "files_are_written_once")
ANSWERING = Selection("test_api.py", "answering", "evaluate_and_predict")
LARGE = Selection("test_collectives.py", "large", "large_sums")
IDLE = Selection("test_collectives.py", "idle", "adds_nothing", "horovod-2")
NORMALIZATION = Selection("test_fit.py", "synchronised", "weights_and_logs and synchronised", "mpi-3")


@dataclass(frozen=True)
class Fault:
    """A line that is wrong."""

    file: str
    right: str
    wrong: str
    noticed_by: Selection


FAULTS = {
    "no allreduce": Fault("engine/nodewise.py", "self._comm.Allreduce(own, total)", "total[...] = own", FIT),
    "sums that stay on the rank that makes them": Fault(
        "engine/nodewise.py", "        self._allgather(total)", "        total += 0", LARGE
    ),
    "pieces that begin where another's do": Fault(
        "engine/nodewise.py",
        "others = own[self._part(to, own.size)][within]",
        "others = own[self._part(me, own.size)][within]",
        LARGE,
    ),
    "a sum for a mean": Fault(
        "training/gradients.py", "sums = [each / tf.cast(total, each.dtype) for each in sums]", "sums = list(sums)", FIT
    ),
    "clipping before the reduction": Fault(
        "training/distribute.py",
        "average(session.engine, list(grads), own,",
        "average(session.engine, [tf.clip_by_norm(each, 0.5) for each in grads], own,",
        FIT,
    ),
    "clipping before the reduction of what was accumulated": Fault(
        "training/distribute.py",
        "        means, _ = average(hook.session.engine, list(grads), wire=hook.wire)\n        return clip(means)",
        "        return average(hook.session.engine, list(clip(list(grads))), wire=hook.wire)[0]",
        ACCUMULATION,
    ),
    "ranks weigh alike however many samples they have": Fault(
        "training/step.py", "session.samples = samples\n", "session.samples = tf.constant(1.0)\n", RAGGED
    ),
    "the stand-in of an empty batch counts in the metrics": Fault(
        "training/step.py", "tf.where(count > 0, value, old)", "value", RAGGED
    ),
    "ranks start apart": Fault(
        "training/distribute.py", "value.assign(engine.broadcast_array(value.numpy(), root))", "pass", FIT
    ),
    "metrics of one rank": Fault("training/callbacks.py", "variable.assign(total)", "pass", FIT),
    "rates and stops that each rank decides": Fault(
        "training/callbacks.py", "variable.assign(total)", "pass", DECIDING
    ),
    "files written by every rank": Fault("training/writers.py", "    if is_leader:\n", "    if True:\n", WRITING),
    "predictions in the order of the ranks": Fault(
        "training/predict.py", "return np.concatenate(rows)", "return np.concatenate(parts)", ANSWERING
    ),
    "augmentation that depends on the rank": Fault(
        "data/pipeline.py",
        "draws(samples, width, seed, epoch)",
        "draws(samples, width, seed + parts[0].start, epoch)",
        SMALL,
    ),
    "an order that depends on the rank": Fault(
        "data/pipeline.py",
        "order(places, len(self), seed, epoch)",
        "order(places, len(self), seed + parts[0].start, epoch)",
        SMALL,
    ),
    "dropout that depends on the rank": Fault("data/order.py", "share.first + row]", "row]", SMALL),
    "statistics in the order of the ranks": Fault(
        "training/replica.py",
        "self._weighted(row, micros - first - number)",
        "self._weighted(row, first)",
        SMALL,
    ),
    "statistics of one rank": Fault(
        "training/replica.py",
        "        with tf.control_dependencies([self._update(totals, micros)]):",
        "        own = rows[0][-1 - len(self.state.moving) : -1]\n"
        "        totals = [*totals[: len(totals) - 1 - len(own)], *own, totals[-1]]\n"
        "        with tf.control_dependencies([self._update(totals, micros)]):",
        SMALL,
    ),
    "a last batch divided by a whole one's size": Fault(
        "training/replica.py", "each / tf.cast(images, each.dtype)", "each / tf.cast(64, each.dtype)", SMALL
    ),
    "a sum that is made once, when the graph is optimised": Fault(
        "engine/horovod.py", "return tf.slice(flat, self._start, [-1])", "return flat", IDLE
    ),
    "synchronised statistics that forget the samples": Fault(
        "training/normalization.py",
        "return tf.math.divide_no_nan(total, samples), plain",
        "return total, plain",
        NORMALIZATION,
    ),
}

FIRST = {
    "no allreduce",
    "ranks weigh alike however many samples they have",
    "files written by every rank",
    "an order that depends on the rank",
    "statistics of one rank",
    "a sum that is made once, when the graph is optimised",
}
"""One for each module's tests and engine; the others are for `make test-all`."""


def run(copy: Path, selection: Selection, run_command: Callable[..., Any]) -> Any:
    """The selected tests, with the package that stands in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "HPCDL_TESTS_WORK": selection.work}
    environment["HPCDL_TESTS_RANKS"] = selection.world[-1]
    test = f"tests/parallel/{selection.module}"
    options = ["-q", "-x", "-p", "no:cacheprovider", "-k", f"{selection.world} and {selection.tests}"]
    return run_command([sys.executable, "-m", "pytest", test, *options], 300, cwd=copy, env=environment)


def copy_to(folder: Path) -> Path:
    """The package and its tests, in another place."""
    for part in ("hpcdl", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def marks(name: str) -> list[pytest.MarkDecorator]:
    """What a fault's test needs, and whether it is one of many."""
    needs = [pytest.mark.needs("horovod")] if FAULTS[name].noticed_by is IDLE else []
    return needs if name in FIRST else [*needs, pytest.mark.thorough]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in FAULTS])
def test_a_fault_is_noticed(name: str, tmp_path: Path, run_command: Callable[..., Any]) -> None:
    fault = FAULTS[name]
    copy = copy_to(tmp_path)
    file = copy / "hpcdl" / fault.file
    text = file.read_text(encoding="utf-8")
    assert text.count(fault.right) == 1, f"{fault.file} has changed: write the fault anew"
    file.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")
    done = run(copy, fault.noticed_by, run_command)
    assert done.returncode == 1, done.stdout
    assert "SyntaxError" not in done.stdout
    assert "NameError" not in done.stdout


def test_a_copy_is_no_fault(tmp_path: Path, run_command: Callable[..., Any]) -> None:
    done = run(copy_to(tmp_path), FIT, run_command)
    assert done.returncode == 0, done.stdout
