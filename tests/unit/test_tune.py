"""The search of `hpcdl tune`, on a machine whose speeds are known, and its command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from hpcdl.bench.tune import PAIRS, candidates, search
from hpcdl.config.load import load
from hpcdl.errors import Interrupted, LaunchError

HPCDL = Callable[..., CompletedProcess[str]]
GROUPS = [["engine.name=mpi", "launch.env.A=1"], ["launch.threads=2"], ["launch.binding=core"]]


class Machine:
    """Starts take a second; each change makes a start faster by its factor."""

    def __init__(self, **factors: float | Exception) -> None:
        self.factors = {name.replace("__", "=").replace("_", "."): value for name, value in factors.items()}
        self.starts: list[list[str]] = []

    def clock(self) -> float:
        return len(self.starts)

    def rate(self, changes: list[str]) -> float:
        self.starts.append(list(changes))
        rate = 100.0
        for change in changes:
            factor = self.factors.get(change, 1.0)
            if isinstance(factor, Exception):
                raise factor
            rate *= factor
        return rate * (1 + 0.01 * (len(self.starts) % 3))  # it drifts


def test_what_is_faster_is_kept_and_the_rest_is_measured_with_it() -> None:
    machine = Machine(engine_name__mpi=1.3, launch_threads__2=0.95, launch_binding__core=1.1)
    found = search(GROUPS, machine.rate, machine.clock, 1000)
    assert found.changes == ["engine.name=mpi", "launch.binding=core"]
    assert [trial.kept for trial in found.trials] == [True, False, False, True] and not found.untried
    assert ["engine.name=mpi", "launch.threads=2"] in machine.starts
    # Both of a pair have what was kept before, and one of them the change.
    assert machine.starts[-2:] == [["engine.name=mpi"], ["engine.name=mpi", "launch.binding=core"]]


def test_the_best_of_a_setting_is_compared_with_its_best_so_far() -> None:
    groups = [["engine.bucket=5", "engine.bucket=9", "engine.bucket=3"]]
    machine = Machine(engine_bucket__5=1.2, engine_bucket__9=1.5, engine_bucket__3=1.1)
    found = search(groups, machine.rate, machine.clock, 1000)
    assert found.changes == ["engine.bucket=9"]
    assert machine.starts[-2:] == [["engine.bucket=9"], ["engine.bucket=3"]]


def test_what_noise_could_have_made_is_not_kept() -> None:
    machine = Machine(engine_name__mpi=1.005)
    assert search(GROUPS[:1], machine.rate, machine.clock, 1000).changes == []
    lucky = iter([1, 2, 1, 2, 1, 0.99])  # twice as fast in two pairs, slower in one
    assert search([["a.b=1"]], lambda _: next(lucky), lambda: 0.0, 1.0).changes == []


def test_a_change_that_is_hopeless_or_fails_costs_one_pair() -> None:
    machine = Machine(engine_name__mpi=LaunchError("no such engine", "", ""), launch_threads__2=0.5)
    found = search(GROUPS[:2], machine.rate, machine.clock, 1000)
    failed, _, slow = found.trials
    assert str(failed) == "engine.name=mpi: failed, no such engine"
    assert slow.ratio and len(slow.ratio.samples) == 1 and str(slow).endswith("in 1 pair, not kept")
    assert len(machine.starts) == 2 + 2 * PAIRS + 2


def test_the_time_is_kept_and_what_was_not_tried_is_told() -> None:
    machine = Machine(engine_name__mpi=1.3)
    found = search(GROUPS, machine.rate, machine.clock, 2 * PAIRS + 1)
    assert found.changes == ["engine.name=mpi"] and len(machine.starts) == 2 * PAIRS
    assert found.untried == ["launch.env.A=1", "launch.threads=2", "launch.binding=core"]
    assert "launch.threads=2: not tried, for lack of time" in list(found.lines())


def test_who_stops_the_search_is_heard() -> None:
    machine = Machine(engine_name__mpi=Interrupted("Ctrl-C", "", ""))
    with pytest.raises(Interrupted):
        search(GROUPS, machine.rate, machine.clock, 1000)


def test_every_candidate_is_a_change_that_the_recipe_takes() -> None:
    recipe = load("cifar10-cnn")
    for ranks, cores in ((1, 1), (1, 8), (2, 2), (4, 2), (4, 64)):
        groups = candidates(recipe, ranks, cores, ["mpi", "horovod"], "horovod")
        for change in (change for changes in groups for change in changes):
            assert load("cifar10-cnn", [change]) != recipe
        flat = str(groups)
        assert ("engine" in flat) == (ranks > 1) and ("binding" in flat) == (1 < ranks <= cores)


def test_the_command_line(hpcdl: HPCDL, tmp_path: Path) -> None:
    shown = hpcdl("tune", "cifar10-cnn", "data.synthetic=100", "-n", "2", "--oversubscribe", "--dry-run")
    assert shown.returncode == 0 and "launch.env.TF_NUM_INTEROP_THREADS=" in shown.stdout
    (tmp_path / "cifar10-cnn-tuned.yaml").write_text("mine")
    taken = hpcdl("tune", "cifar10-cnn", "data.synthetic=100")
    assert taken.returncode == 2 and "--overwrite" in taken.stderr
    assert (tmp_path / "cifar10-cnn-tuned.yaml").read_text() == "mine"


def test_a_recipe_is_written_that_trains(hpcdl: HPCDL, tmp_path: Path) -> None:
    """Time for a start or a few: whatever was kept of them, what is learned is the same."""
    recipe = ("mnist-mlp-relu", "data.synthetic=600", "train.global_batch=60", "train.micro_batch=60")
    done = hpcdl("tune", *recipe, "--minutes", "0.1", "--out", "own.yaml", timeout=600)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "own.yaml").read_text()
    assert text.startswith("# mnist-mlp-relu for 1 rank on ")
    found, asked = load(str(tmp_path / "own.yaml")), load(recipe[0], recipe[1:])
    assert found.model_copy(update={"launch": asked.launch, "engine": asked.engine}) == asked
    assert "next: hpcdl run own.yaml -n 1" in done.stdout
