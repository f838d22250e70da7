"""What interruptions have cost a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

STARTS = ("launch", "restart")


@dataclass(frozen=True)
class Cost:
    """Of all starts of a run.

    Attributes:
        restarts: starts after the first.
        lost_updates: that were made more than once, because no checkpoint held them.
        ettr: share of the time while it ran that went into the updates of the result and their evaluation: the
            effective training time ratio (Kokolis et al. 2024, "Revisiting Reliability in Large-Scale Machine
            Learning Research Clusters"). The rest are starts, lost updates, waiting for silent ranks and checkpoints.
    """

    restarts: int
    lost_updates: int
    ettr: float


def cost(events: Sequence[Mapping[str, Any]], steps: Sequence[int], useful: float) -> Cost:
    """The cost, from a run's records.

    Args:
        events: of all starts, in their order, with "time" in ISO 8601.
        steps: number of each update that rank 0 made, in their order.
        useful: seconds that the updates of the result took.
    """
    times = [datetime.fromisoformat(str(event["time"])) for event in events]
    first = [
        place
        for place, event in enumerate(events)
        if place == 0 or (event["event"] in STARTS and events[place - 1]["event"] not in STARTS)
    ]
    ran = sum(
        (times[end - 1] - times[begin]).total_seconds()
        for begin, end in zip(first, [*first[1:], len(events)], strict=True)
    )
    return Cost(
        restarts=sum(event["event"] == "restart" for event in events),
        lost_updates=len(steps) - len(set(steps)),
        ettr=min(1.0, useful / ran) if ran else 1.0,
    )
