"""One GPU a rank."""

from __future__ import annotations

import tensorflow as tf

from hpcdl.errors import WorldError
from hpcdl.world import World


def choose_gpu(visible: int, local_rank: int) -> int | None:
    """The place of a rank's GPU among those that it sees, or None without one.

    Where the launcher shows a rank all GPUs of the node, the local rank picks; where it shows
    one, that one is the rank's own.

    Raises:
        WorldError: more ranks on the node than GPUs.
    """
    if visible == 0:
        return None
    if visible == 1:
        return 0
    if local_rank >= visible:
        raise WorldError(
            f"local rank {local_rank} with {visible} visible GPUs",
            "at most one rank a GPU",
            f"start {visible} ranks a node, or hide the GPUs with CUDA_VISIBLE_DEVICES=-1 to train on the processor",
        )
    return local_rank


def pin_gpu(world: World) -> None:
    """Shows TensorFlow this rank's GPU alone, with memory that grows as it is needed."""
    gpus = tf.config.list_physical_devices("GPU")
    chosen = choose_gpu(len(gpus), world.local_rank)
    if chosen is not None:
        tf.config.set_visible_devices([gpus[chosen]], "GPU")
        tf.config.experimental.set_memory_growth(gpus[chosen], True)
