"""Keras calls nobody when an exception ends a fit; the thread's stack tells that it is over."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from threading import get_ident
from types import FrameType
from typing import Any


def running_fit(model: Any) -> Callable[[], bool]:
    """Called by a callback: answers what tells, from any thread, whether this call of `model.fit` still runs.

    Where there is none, in a loop that calls callbacks by itself, it answers True for ever.
    """
    thread = get_ident()
    # By its id, for the frame itself would keep the data alive.
    fit = next((id(each) for each in _stack(sys._getframe()) if _is_fit(each, model)), None)
    return lambda: fit is None or any(id(each) == fit for each in _stack(sys._current_frames().get(thread)))


def _is_fit(frame: FrameType, model: Any) -> bool:
    return frame.f_code.co_name == "fit" and frame.f_locals.get("self") is model


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that wait for it."""
    while frame:
        yield frame
        frame = frame.f_back
