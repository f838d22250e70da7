"""When a run is started again after a failure, and when not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcdl import checkpoint
from hpcdl.errors import ConfigError, Interrupted, LaunchError
from hpcdl.launch.folder import reopen
from hpcdl.launch.restarts import Restarts, run_again
from hpcdl.launch.told import Told


def test_restarts_without_progress_are_counted_and_wait_ever_longer() -> None:
    restarts = Restarts(most=3)
    assert [restarts.after(0) for _ in range(4)] == [1.0, 2.0, 4.0, None]


def test_progress_resets_the_count() -> None:
    restarts = Restarts(most=1)
    assert [restarts.after(update) for update in (10, 20, 20)] == [1.0, 1.0, None]
    assert Restarts(most=0).after(10) is None
    assert max(Restarts(most=99, made=made).after(0) or 0 for made in range(99)) == 60.0


class Run:
    """Fails as it is told, each time after a checkpoint at some update."""

    def __init__(self, folder: Path, *outcomes: tuple[int, Exception | None]) -> None:
        self.folder, self.outcomes = folder, list(outcomes)
        self.again: list[bool] = []

    def reached(self) -> int:
        return checkpoint.latest_update(self.folder)

    def __call__(self, again: bool) -> dict[str, Any]:
        self.again.append(again)
        update, error = self.outcomes.pop(0)
        checkpoint.write(self.folder, update, lambda place: None)
        if error:
            raise error
        return {"updates": update}


def killed() -> LaunchError:
    return LaunchError("rank 1 was killed", "an end", "see the log")


def test_a_run_goes_on_until_it_ends(tmp_path: Path) -> None:
    run, waited, told = Run(tmp_path, (1, killed()), (2, killed()), (3, None)), [], []
    assert run_again(run, run.reached, 1, told.append, wait=waited.append) == {"updates": 3}
    assert run.again == [False, True, True] and waited == [1.0, 1.0]
    assert "rank 1 was killed" in told[0] and "from update 1" in told[0]


def test_a_failure_that_repeats_at_the_same_update_is_given_up(tmp_path: Path) -> None:
    run, waited = Run(tmp_path, *[(5, killed()) for _ in range(9)]), []
    with pytest.raises(LaunchError, match="killed"):
        run_again(run, run.reached, 2, lambda told: None, wait=waited.append)
    assert waited == [1.0, 2.0] and len(run.again) == 3


@pytest.mark.parametrize("error", [ConfigError("a", "b", "c"), Interrupted("a", "b", "c")])
def test_what_another_start_would_meet_again_is_not_tried_again(tmp_path: Path, error: Exception) -> None:
    run = Run(tmp_path, (1, error))
    with pytest.raises(type(error)):
        run_again(run, run.reached, 5, lambda told: None, wait=lambda seconds: None)
    assert len(run.again) == 1


def test_a_folder_that_is_opened_again_keeps_what_ranks_said(tmp_path: Path) -> None:
    (tmp_path / "ranks").mkdir()
    (tmp_path / "events.jsonl").touch()
    for _ in range(3):
        (tmp_path / "ranks" / "1.failure.json").write_text("{}")
        reopen(tmp_path)
    kept = sorted(path.name for path in (tmp_path / "ranks").iterdir())
    assert kept == ["1.failure.1.json", "1.failure.2.json", "1.failure.3.json"]


def test_a_script_tells_how_far_its_checkpoints_are(tmp_path: Path) -> None:
    told = Told(tmp_path)
    assert told.reached() == 0 and not told.lasting
    for folder, update in (("a", 5), ("b", 2), ("a", 7)):
        told.keeps(tmp_path / folder)
        checkpoint.write(tmp_path / folder, update, lambda place: None)
    told.fails_for_good()
    assert told.reached() == 9 and told.lasting
