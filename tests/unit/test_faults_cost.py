"""What interruptions have cost."""

from __future__ import annotations

import pytest

from hpcdl.analysis.faults import cost


def at(seconds: int, event: str) -> dict[str, str]:
    return {"time": f"2026-11-25T10:{seconds // 60:02}:{seconds % 60:02}.000+00:00", "event": event}


def test_a_run_that_was_killed_once() -> None:
    """100 s, of which 20 s of work were lost; 30 s in the queue do not count; 30 s that were started twice do."""
    events = [at(0, "launch"), at(10, "start"), at(50, "progress"), at(60, "failure")]
    events += [at(90, "launch"), at(100, "restart"), at(101, "start"), at(130, "end")]
    found = cost(events, [0, 1, 2, 3, 4, 2, 3, 4, 5], useful=50.0)
    assert (found.restarts, found.lost_updates) == (1, 3)
    assert found.ettr == pytest.approx(0.5)


def test_a_job_without_a_launcher_has_starts_too() -> None:
    events = [at(0, "start"), at(40, "progress"), at(60, "restart"), at(61, "start"), at(80, "end")]
    assert cost(events, [0, 1], useful=30.0).ettr == pytest.approx(30 / 60)


def test_a_run_that_nothing_interrupted() -> None:
    assert vars(cost([at(0, "start")], [], useful=0.0)) == {"restarts": 0, "lost_updates": 0, "ettr": 1.0}
