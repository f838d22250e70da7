"""What hpcdl raises when a person can mend it: received, expected, how to fix it."""

from __future__ import annotations


class HpcdlError(Exception):
    """A failure that is told in three lines and without a traceback.

    Args:
        received: what was found, as the user would name it.
        expected: what would have been right.
        fix: what to type or change.
    """

    exit_code = 1
    lasting = False
    """Another start would meet it again."""

    def __init__(self, received: str, expected: str, fix: str) -> None:
        super().__init__(received)
        self.received = received
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        return f"received: {self.received}\nexpected: {self.expected}\n     fix: {self.fix}"

    def __reduce__(self) -> tuple[type[HpcdlError], tuple[str, str, str]]:
        return type(self), (self.received, self.expected, self.fix)


class ConfigError(HpcdlError):
    """A recipe, an override or a command-line value that cannot be used."""

    exit_code = 2
    lasting = True


class DataError(HpcdlError):
    """A data set that is missing, truncated or damaged."""

    exit_code = 2
    lasting = True


class LaunchError(HpcdlError):
    """Ranks that cannot be started here, or that ended badly."""


class WorldError(HpcdlError):
    """Ranks that do not form the world that was asked for."""

    lasting = True


class RecordError(HpcdlError):
    """Records that are missing, torn or of another version."""

    exit_code = 2
    lasting = True


class CheckpointError(HpcdlError):
    """A checkpoint that is not whole, or not of this training."""

    exit_code = 2
    lasting = True


class Interrupted(HpcdlError):
    """A run that was asked to stop and did so in order; started again, it goes on (EX_TEMPFAIL)."""

    exit_code = 75
    lasting = True


class StallError(HpcdlError):
    """A rank that did nothing for too long."""


class DivergenceError(HpcdlError):
    """Training that produced an infinity or NaN."""

    lasting = True


class ReplicaError(HpcdlError):
    """Ranks whose weights are no longer the same."""
