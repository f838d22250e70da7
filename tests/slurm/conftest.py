"""One real cluster for all tests of this folder, and a user of it."""

from login import slurm, user

__all__ = ["slurm", "user"]
