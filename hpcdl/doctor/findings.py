"""One line of the doctor's answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "failure"]
STATES: tuple[State, ...] = ("ok", "warning", "failure")
"""From good to bad: a warning works and may disappoint, a failure will not work."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and the mend where it could be better."""

    name: str
    state: State
    told: str
    mend: str = ""


@dataclass(frozen=True)
class Section:
    """Findings of one theme."""

    title: str
    findings: tuple[Finding, ...]


def ok(name: str, told: str) -> Finding:
    """It works, or it is not there and nobody needs it."""
    return Finding(name, "ok", told)


def warning(name: str, told: str, mend: str) -> Finding:
    """It works, and may disappoint."""
    return Finding(name, "warning", told, mend)


def failure(name: str, told: str, mend: str) -> Finding:
    """It will not work."""
    return Finding(name, "failure", told, mend)


def worst(findings: Iterable[Finding]) -> State:
    """The worst state among findings; ok where there is none."""
    return max((finding.state for finding in findings), key=STATES.index, default="ok")


def as_json(sections: Iterable[Section]) -> dict[str, Any]:
    """What --json prints."""
    sections = list(sections)
    return {
        "findings": [{"section": section.title, **asdict(each)} for section in sections for each in section.findings],
        "worst": worst(each for section in sections for each in section.findings),
    }
