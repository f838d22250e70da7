"""When training ends before its last epoch."""

from __future__ import annotations

from collections.abc import Mapping


class Stop:
    """Decides after each epoch; metrics are over all ranks, so every rank decides alike.

    Args:
        patience: epochs without a lower validation loss that are borne; None: all of them.
        target: test accuracy that is enough; None: none is.
    """

    def __init__(self, patience: int | None, target: float | None) -> None:
        self._patience, self._target = patience, target
        self._best, self._waited = float("inf"), 0

    def after(self, logs: Mapping[str, float]) -> str | None:
        """Why training ends here; None: it goes on."""
        if self._target is not None and logs["test_accuracy"] >= self._target:
            return f"test accuracy {logs['test_accuracy']:.4f} reached the target {self._target}"
        if self._patience is None:
            return None
        better = logs["validation_loss"] < self._best
        self._best = min(self._best, logs["validation_loss"])
        self._waited = 0 if better else self._waited + 1
        if self._waited >= self._patience:
            return f"validation loss did not fall below {self._best:.4f} for {self._waited} epochs"
        return None
