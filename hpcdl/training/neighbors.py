"""Keras does not tell a callback of the others in a fit; one that saves what they know must be told."""

from __future__ import annotations

from typing import Any

import keras

States = list[tuple[str, dict[str, Any]]]
STATES = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "cooldown_counter", "best"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    keras.callbacks.History: ("history", "epoch"),
}
"""What Keras's callbacks learn while they watch. One of the user's own has get_state() and set_state(value)."""


class Last(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that is called after all others, and knows them: after an epoch, they have seen it."""

    others: list[keras.callbacks.Callback]


def introduce() -> None:
    """From here on, every fit's list of callbacks has those that are Last at its end, and tells them of the others."""
    plain = keras.callbacks.CallbackList.set_model
    if hasattr(plain, "hpcdl"):
        return

    def set_model(self: keras.callbacks.CallbackList, model: keras.Model) -> None:
        last = [each for each in self.callbacks if isinstance(each, Last)]
        others = [each for each in self.callbacks if not isinstance(each, Last)]
        for each in last:
            each.others = others
        self.callbacks[:] = [*others, *last]
        plain(self, model)

    set_model.hpcdl = True  # type: ignore[attr-defined]
    keras.callbacks.CallbackList.set_model = set_model


def states(callbacks: list[keras.callbacks.Callback]) -> States:
    """What the callbacks have learned, those that have a state."""
    return [(type(each).__name__, state) for each in callbacks if (state := _state(each))]


def give_back(callbacks: list[keras.callbacks.Callback], saved: States) -> list[str]:
    """Gives callbacks their states; answers the names of those for which none was saved, which begin anew.

    Args:
        callbacks: in any order, but those of one class in the order that they had.
        saved: what `states` has answered.
    """
    left, anew = list(saved), []
    for each in callbacks:
        if not _state(each):
            continue
        name = type(each).__name__
        place = next((place for place, (other, _) in enumerate(left) if other == name), None)
        if place is None:
            anew.append(name)
        elif hasattr(each, "set_state"):
            each.set_state(left.pop(place)[1]["own"])
        else:
            for key, value in left.pop(place)[1].items():
                setattr(each, key, value)
    return anew


def _state(callback: keras.callbacks.Callback) -> dict[str, Any]:
    if hasattr(callback, "get_state") and hasattr(callback, "set_state"):
        return {"own": callback.get_state()}
    names = {name for kind, names in STATES.items() if isinstance(callback, kind) for name in names}
    return {name: getattr(callback, name) for name in sorted(names) if hasattr(callback, name)}
