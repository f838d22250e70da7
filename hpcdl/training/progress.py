"""How far a phase of a run has come: all that training knows besides weights and the optimizer's state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hpcdl.training.meter import Meter
from hpcdl.training.stop import Waiting


@dataclass
class Progress:
    """Between two updates. Order, augmentation and dropout follow from `made`, so they need no state of their own."""

    made: int = 0
    """Updates."""
    epochs: int = 0
    """Epochs that are whole, and evaluated."""
    epoch: Meter = field(default_factory=Meter)
    """Over the updates of the epoch that is not whole yet."""
    whole: Meter = field(default_factory=Meter)
    """Over all updates."""
    logs: dict[str, float] = field(default_factory=dict)
    """Metrics of the latest whole epoch."""
    waiting: Waiting = field(default_factory=Waiting)
    """For a lower validation loss."""
    stopped: str | None = None
    """Why training ended before its last epoch."""
    seconds: float = 0.0
    """Of training, with evaluation."""
    rate: float | None = None
    """The latest update's learning rate."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON, from which `of` makes an equal value."""
        return {
            **vars(self),
            "epoch": self.epoch.as_dict(),
            "whole": self.whole.as_dict(),
            "waiting": vars(self.waiting).copy(),
            "logs": dict(self.logs),
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> Progress:
        """The inverse of `as_dict`."""
        own = {
            "epoch": Meter.of(state["epoch"]),
            "whole": Meter.of(state["whole"]),
            "waiting": Waiting(**state["waiting"]),
        }
        return cls(**{**state, **own})
