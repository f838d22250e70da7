"""What a scaling study measures: its points, as recipes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hpcdl.config.schema import CheckpointConfig, RunConfig
from hpcdl.errors import ConfigError
from hpcdl.launch.hosts import HERE, Where, fullest

MODES = ("weak", "strong", "both")
FOR_EVER = 1_000_000
"""Epochs of a benchmark run, which ends by its steps."""


@dataclass(frozen=True)
class Study:
    """What is measured.

    Attributes:
        config: the recipe.
        engine: the engine of the points with several ranks; one rank alone reduces nothing.
        ranks: world sizes.
        modes: "weak", "strong" or both.
        repeats: starts of each point.
        steps: measured steps of each start.
        warmup: steps before them, which are dropped.
    """

    config: RunConfig
    engine: str
    ranks: tuple[int, ...]
    modes: tuple[str, ...]
    repeats: int
    steps: int
    warmup: int


def parse_counts(text: str, option: str) -> tuple[int, ...]:
    """World sizes, or numbers of nodes, from "1,2,4", sorted; `option` names them in the error.

    Raises:
        ConfigError: not whole numbers from 1, or one twice.
    """
    try:
        ranks = sorted(int(part) for part in text.split(","))
    except ValueError:
        ranks = []
    if not ranks or ranks[0] < 1 or len(set(ranks)) != len(ranks):
        raise ConfigError(
            f"{option} {text}", "different whole numbers from 1, with commas between", f"for example {option} 1,2,4"
        )
    return tuple(ranks)


def point_config(study: Study, mode: str, ranks: int, cores: int, where: Where = HERE) -> RunConfig:
    """The recipe of one point, on hosts with so many cores each.

    weak: each rank keeps one micro-batch an update, so the global batch grows with the ranks.
    strong: the global batch stays, and each rank has the same share of it, in equal micro-batches
    of at most the recipe's size.
    Either way a rank has the threads that it has where a host is fullest, which on one machine is at the
    largest world size, so that one rank is one rank's share of the machine.

    Raises:
        ConfigError: strong scaling with a global batch that the ranks do not divide.
    """
    train = study.config.train
    if mode == "weak":
        batch, micro = train.micro_batch * ranks, train.micro_batch
    else:
        if train.global_batch % ranks:
            raise ConfigError(
                f"strong scaling of global_batch {train.global_batch} on {ranks} ranks",
                "a global batch that every rank count divides",
                "set train.global_batch, or choose other --ranks",
            )
        batch, share = train.global_batch, train.global_batch // ranks
        micro = max(size for size in range(1, min(train.micro_batch, share) + 1) if share % size == 0)
    steps = {
        "global_batch": batch,
        "micro_batch": micro,
        "steps": study.warmup + study.steps,
        "epochs": FOR_EVER,
        "evaluate": False,
        "save": False,
    }
    threads = study.config.launch.threads
    if threads == "auto":
        threads = max(1, cores // max(fullest(where, size) for size in study.ranks))
    return study.config.model_copy(
        update={
            "train": train.model_copy(update=steps),
            "checkpoint": CheckpointConfig(every_seconds=None),
            "launch": study.config.launch.model_copy(update={"threads": threads}),
            "engine": study.config.engine.model_copy(update={"name": study.engine if ranks > 1 else "auto"}),
        }
    )
