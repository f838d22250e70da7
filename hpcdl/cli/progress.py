"""Events as they come: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0


class Display:
    """Shows events. Use it as a context manager, so that the terminal is left as it was."""

    def __init__(self, console: Console) -> None:
        self._console = console
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
                told = f"start {event['count']} after the first, from update {event['from_update']}"
                self._console.print(told, highlight=False)
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

    def read(self) -> list[dict[str, Any]]:
        """Events since the last call; a line that is not whole yet is left for the next."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._place)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._place += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def _means(event: dict[str, Any]) -> str:
    return f"loss {event['loss']:.4f}  accuracy {event['accuracy']:.4f}  {event['images_per_s']:,.0f} images/s"
