"""When training ends before its last epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class Waiting:
    """For a lower validation loss.

    Attributes:
        best: the lowest so far; None before the first.
        epochs: since then.
    """

    best: float | None = None
    epochs: int = 0


class Stop:
    """Decides after each epoch; metrics are over all ranks, so every rank decides alike.

    Args:
        patience: epochs without a lower validation loss that are borne; None: all of them.
        target: test accuracy that is enough; None: none is.
        waiting: what is known from earlier epochs, and is kept up.
    """

    def __init__(self, patience: int | None, target: float | None, waiting: Waiting) -> None:
        self._patience, self._target, self._waiting = patience, target, waiting

    def after(self, logs: Mapping[str, float]) -> str | None:
        """Why training ends here; None: it goes on."""
        if self._target is not None and logs["test_accuracy"] >= self._target:
            return f"test accuracy {logs['test_accuracy']:.4f} reached the target {self._target}"
        if self._patience is None:
            return None
        waiting, loss = self._waiting, logs["validation_loss"]
        better = waiting.best is None or loss < waiting.best
        waiting.best = loss if waiting.best is None else min(waiting.best, loss)
        waiting.epochs = 0 if better else waiting.epochs + 1
        if waiting.epochs >= self._patience:
            return f"validation loss did not fall below {waiting.best:.4f} for {waiting.epochs} epochs"
        return None
