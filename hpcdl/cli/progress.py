"""Events as they come: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hpcdl.records import read_event
from hpcdl.training.journal import Seldom

LINE_SECONDS = 10.0


class Display:
    """Shows events. Use it as a context manager, so that the terminal is left as it was.

    Args:
        console: where.
        clock: seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = monotonic) -> None:
        self._console = console
        self._missing = Seldom(clock)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[means]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None, means="")
        self._updates = self._epoch_updates = 0
        self._line = monotonic()

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Shows one event of a run."""
        match event["event"]:
            case "start":
                self._updates, self._epoch_updates = event["updates"], event["epoch_updates"]
                self._console.print(f"{event['origin']}; {self._updates} updates", highlight=False)
            case "restart":
                source = f" of checkpoint {event['checkpoint']}" if "checkpoint" in event else ""
                told = f"start {event['count']} after the first, from update {event['from_update']}{source}"
                self._console.print(told, highlight=False)
            case "invalid_checkpoint":
                told = f"checkpoint {event['name']} is not whole and was set aside: {'; '.join(event['why'])}"
                self._console.print(told, highlight=False)
            case "no_checkpoint":
                if self._missing.due():
                    told = f"no checkpoint at update {event['update']}: {event['error']}; training goes on"
                    self._console.print(told, highlight=False)
            case "torn":
                self._console.print(event["note"], highlight=False)
            case "weights":
                left = ", ".join(event["left_out"]) or "no layer"
                self._console.print(f"weights from {event['from']}; with a random start: {left}", highlight=False)
            case "progress":
                self._progress(event)
            case "epoch":
                test = "".join(
                    f"  {split} loss {event[f'{split}_loss']:.4f} accuracy {event[f'{split}_accuracy']:.4f}"
                    for split in ("validation", "test")
                    if f"{split}_loss" in event
                )
                self._console.print(f"epoch {event['epoch']}/{self._epochs}  {_means(event)}{test}", highlight=False)

    @property
    def _epochs(self) -> int:
        return -(-self._updates // max(1, self._epoch_updates))

    def _progress(self, event: dict[str, Any]) -> None:
        name = f"epoch {event['epoch']}/{self._epochs}"
        self._bar.update(
            self._task, description=name, total=self._updates, completed=event["update"], means=_means(event)
        )
        if not self._console.is_terminal and monotonic() - self._line > LINE_SECONDS:
            self._line = monotonic()
            self._console.print(f"{name} update {event['update']}/{self._updates}  {_means(event)}", highlight=False)


class Tail:
    """The new whole lines of an event stream that another process appends to."""

    def __init__(self, path: Path) -> None:
        self._path, self._place = path, path.stat().st_size if path.exists() else 0
        self._torn = False

    def read(self, *, last: bool = False) -> list[dict[str, Any]]:
        """Events since the last call; in place of the first torn line one that tells of it.

        Args:
            last: nobody writes any more; until then a line that is not whole yet is left for the next call.
        """
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._place:  # it vanished, and began anew
                    self._place = 0
                file.seek(self._place)
                data = file.read()
        except OSError:
            return []
        whole = data if last else data[: data.rfind(b"\n") + 1]
        self._place += len(whole)
        lines = [read_event(line) for line in whole.splitlines() if line.strip()]
        return [event for line in lines for event in ([line] if line else self._note())]

    def _note(self) -> list[dict[str, Any]]:
        first, self._torn = not self._torn, True
        return [{"event": "torn", "note": f"{self._path}: a torn line was left out"}] if first else []


def _means(event: dict[str, Any]) -> str:
    return f"loss {event['loss']:.4f}  accuracy {event['accuracy']:.4f}  {event['images_per_s']:,.0f} images/s"
