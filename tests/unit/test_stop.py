"""When training ends early."""

from __future__ import annotations

from hpcdl.training.input_rates import bottleneck
from hpcdl.training.stop import Stop, Waiting


def epochs(stop: Stop, **logs: list[float]) -> int | None:
    """The epoch after which it ended, from 1."""
    for number, values in enumerate(zip(*logs.values(), strict=True), start=1):
        if stop.after(dict(zip(logs, values, strict=True))):
            return number
    return None


def test_patience_counts_epochs_without_a_lower_loss() -> None:
    losses = [1.0, 0.9, 0.95, 0.8, 0.8, 0.81, 0.5]
    assert epochs(Stop(1, None, Waiting()), validation_loss=losses) == 3
    assert epochs(Stop(2, None, Waiting()), validation_loss=losses) == 6
    assert epochs(Stop(3, None, Waiting()), validation_loss=losses) is None
    assert epochs(Stop(None, None, Waiting()), validation_loss=losses) is None


def test_a_target_ends_training_where_it_is_reached() -> None:
    assert epochs(Stop(None, 0.7, Waiting()), test_accuracy=[0.5, 0.7, 0.9]) == 2
    assert epochs(Stop(None, 0.95, Waiting()), test_accuracy=[0.5, 0.7, 0.9]) is None
    assert "0.7000 reached the target 0.7" in str(Stop(None, 0.7, Waiting()).after({"test_accuracy": 0.7}))


def test_the_stage_that_adds_most_time_limits() -> None:
    assert bottleneck({"read": 1000.0, "decode": 100.0, "augment": 90.0}, 50.0) == "network"
    assert bottleneck({"read": 1000.0, "decode": 100.0, "augment": 90.0}, 500.0) == "decode"
    assert bottleneck({"gather": 1000.0, "augment": 100.0}, 500.0) == "augment"
