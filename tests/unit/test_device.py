"""One GPU a rank, with pretended GPUs: there is none where these tests run."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from hpcdl.errors import WorldError
from hpcdl.training.device import choose_gpu, pin_gpu
from hpcdl.world import World


@pytest.mark.parametrize(
    ("visible", "local_rank", "chosen"), [(0, 0, None), (0, 3, None), (1, 0, 0), (1, 3, 0), (4, 0, 0), (4, 3, 3)]
)
def test_the_local_rank_picks_among_several_and_a_lone_gpu_is_ones_own(
    visible: int, local_rank: int, chosen: int | None
) -> None:
    assert choose_gpu(visible, local_rank) == chosen


def test_two_ranks_never_share_one_of_several_gpus() -> None:
    with pytest.raises(WorldError, match="local rank 4 with 4 visible GPUs"):
        choose_gpu(4, 4)


def test_tensorflow_sees_that_gpu_alone_and_lets_its_memory_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [f"GPU:{number}" for number in range(4)]
    calls: list[Any] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else [])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: calls.append((devices, kind)))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda device, grow: calls.append((device, grow)))
    pin_gpu(World(rank=6, size=8, local_rank=2, local_size=4, node=1, nodes=2))
    assert calls == [(["GPU:2"], "GPU"), ("GPU:2", True)]
