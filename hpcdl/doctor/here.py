"""This machine as the checks may read it: its environment, its files and what its programs answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdl.answer import Answer
from hpcdl.errors import LaunchError
from hpcdl.launch.supervisor import ask, inherited

Ask = Callable[[Sequence[str], float], Answer]
"""(argv, seconds) -> what the program said; raises LaunchError where it is not there."""


@dataclass(frozen=True)
class Here:
    """Where checks look. Tests give another root and recorded answers."""

    environ: Mapping[str, str]
    ask: Ask
    root: Path = Path("/")

    def file(self, path: str) -> Path:
        """A path from the root, as /sys/class/net."""
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str:
        """A small file's text; empty where it cannot be read."""
        try:
            return self.file(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def names(self, path: str) -> list[str]:
        """What a folder holds, sorted; nothing where it is not there."""
        try:
            return sorted(each.name for each in self.file(path).iterdir())
        except OSError:
            return []

    def which(self, program: str) -> str | None:
        """A program's place on the PATH."""
        return shutil.which(program, path=self.environ.get("PATH", ""))

    def answer(self, *argv: str, seconds: float = 20.0) -> Answer | None:
        """What a program says; None where it is not there."""
        try:
            return self.ask(argv, seconds)
        except LaunchError:
            return None


def this_machine(environ: Mapping[str, str]) -> Here:
    """The machine that hpcdl runs on; its programs are not told of an outer launcher's ranks."""
    clean = inherited(environ)
    return Here(environ, lambda argv, seconds: ask(argv, clean, seconds=seconds))


def last_line(answer: Answer) -> str:
    """What a program complained of, or else said, last."""
    lines = [line.strip() for line in (answer.err or answer.out).splitlines() if line.strip()]
    return lines[-1] if lines else f"code {answer.code}, and not a word"
