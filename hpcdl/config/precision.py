"""The precision that a recipe leaves to the machine."""

from __future__ import annotations

from hpcdl.config.schema import RunConfig


def settle(config: RunConfig, *, bfloat16: bool) -> RunConfig:
    """The recipe with a precision in place of auto.

    On a processor without such instructions the network of cifar10-speedrun trained in mixed_bfloat16 at
    about a tenth of its rate in float32 (benchmarks/README.md).

    Args:
        config: the recipe.
        bfloat16: whether the processor computes in bfloat16.
    """
    if config.train.precision != "auto":
        return config
    train = config.train.model_copy(update={"precision": "mixed_bfloat16" if bfloat16 else "float32"})
    return config.model_copy(update={"train": train})
