"""Whether a recipe fits a number of ranks."""

from __future__ import annotations

from hpcdl.config.schema import RunConfig
from hpcdl.errors import ConfigError


def check_ranks(config: RunConfig, ranks: int) -> None:
    """Refuses ranks that would have nothing to do.

    Raises:
        ConfigError: an update has fewer micro-batches than there are ranks.
    """
    train = config.train
    micros = train.global_batch // train.micro_batch
    if ranks > micros:
        largest = next(
            (size for size in range(train.global_batch // ranks, 0, -1) if train.global_batch % size == 0), None
        )
        fix = f"train.micro_batch={largest}, or" if largest else ""
        raise ConfigError(
            f"{ranks} ranks for {config.name}, whose update has {micros} micro-batches "
            f"(global_batch {train.global_batch} / micro_batch {train.micro_batch})",
            "at least one micro-batch a rank",
            f"{fix} train.global_batch={ranks * train.micro_batch}, which changes what is learned a step".strip(),
        )
