"""How fast images come, stage by stage, and how fast the network takes them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import tensorflow as tf

from hpcdl.config.schema import DataConfig, RunConfig
from hpcdl.data.images import Encoded, ImageSet
from hpcdl.data.order import layer_seeds, order, shares
from hpcdl.data.pipeline import CROP, Batches
from hpcdl.data.rows import BLOCK
from hpcdl.data.stream import Batched, Stream
from hpcdl.training.replica import Stepped
from hpcdl.training.session import Session
from hpcdl.training.trainer import make_model, make_replica

Take = Callable[[], int]
"""Does one step, and answers with how many images."""


def measure(
    config: RunConfig, data: ImageSet, session: Session, workers: int, seconds: float, repeats: int
) -> dict[str, Any]:
    """Images/s of each stage of the input, each with those before it, and of training, on one rank.

    The stages are measured in turn, `repeats` times; a rate is the median.

    Args:
        config: the recipe.
        data: its images.
        session: of one rank.
        workers: images that are decoded at the same time.
        seconds: of each stage in each turn.
        repeats: turns.

    Returns:
        {"stages": {name: images/s}, "training": {"synthetic": images/s, "real": images/s}, "ratio": real over
        synthetic, the median over turns, "bottleneck": the stage that costs the most a image, or "network"}.
    """
    stages = _stages(config, data, workers)
    fixed, real = _training(config, data, session, workers)
    takes = {**stages, "synthetic": fixed, "real": real}
    for take in takes.values():  # traces, and fills buffers
        take(), take()
    turns = [{name: _rate(take, seconds) for name, take in takes.items()} for _ in range(repeats)]
    rates = {name: median(turn[name] for turn in turns) for name in takes}
    loader = {name: rates[name] for name in stages}
    return {
        "stages": loader,
        "training": {"synthetic": rates["synthetic"], "real": rates["real"]},
        "ratio": median(turn["real"] / turn["synthetic"] for turn in turns),
        "bottleneck": bottleneck(loader, rates["synthetic"]),
    }


def bottleneck(stages: dict[str, float], network: float) -> str:
    """What limits training: the network, or the stage of a slower input that adds the most time an image.

    Args:
        stages: images/s of each stage with those before it.
        network: images/s of training on tensors that are there.
    """
    if min(stages.values()) >= network:
        return "network"
    times = [0.0, *(1 / rate for rate in stages.values())]
    added = {name: after - before for name, before, after in zip(stages, times, times[1:], strict=False)}
    return max(added, key=lambda name: added[name])


def _rate(take: Take, seconds: float) -> float:
    began, images = perf_counter(), 0
    while True:
        images += take()
        spent = perf_counter() - began
        if spent > seconds:
            return images / spent


def _stages(config: RunConfig, data: ImageSet, workers: int) -> dict[str, Take]:
    """Reading (where images are read when they are needed), then pixels of the network's size, then all."""
    plain = DataConfig.model_validate(
        {**config.data.model_dump(), "augment": [CROP] if CROP in config.data.augment else [], "normalize": "none"}
    )
    stages = {}
    split = data.train
    if isinstance(split, Encoded):
        places = order(np.arange(len(split)), len(split), config.train.seed, 0)
        blocks = cycle([places[start : start + BLOCK] for start in range(0, len(places), BLOCK)])
        stages["read"] = lambda: len(split.read(next(blocks)))
    name = "decode" if stages else "gather"
    for stage, settings in ((name, plain), ("augment", config.data)):
        stages[stage] = _images(_endless(config, Batches(data, split, settings, config.train.micro_batch, workers)))
    return stages


def _endless(config: RunConfig, batches: Batches) -> Batched:
    """Whole global batches, epoch after epoch."""
    size = min(config.train.global_batch, len(batches))
    parts = [part for part in shares(len(batches), size, size, 0, 1) if part.stop - part.start == size]
    return batches.epochs(parts, config.train.seed)


def _images(batches: Batched) -> Take:
    return lambda: int(next(batches)[1].shape[0])


def _training(config: RunConfig, data: ImageSet, session: Session, workers: int) -> tuple[Take, Take]:
    """A step on one batch that stays, and steps on the images."""
    model = make_model(config, data)
    replica = make_replica(config, model, session.engine)
    real = _endless(config, Batches(data, data.train, config.data, config.train.micro_batch, workers))
    size = min(config.train.global_batch, len(data.train))
    [share] = shares(size, size, config.train.micro_batch, 0, 1)
    seeds = layer_seeds(replica.state.random_layers, config.train.seed, 0, 0, share, share.micros)
    rate = np.full(1, replica.optimizer.learning_rate, np.float32)

    def step(batches: Batched) -> int:
        return int(Stepped(*replica.steps(batches, 1, share, seeds[np.newaxis], rate)[0]).images)

    staying = Stream(tf.data.Dataset.from_tensors(next(real)).repeat())
    return lambda: step(staying), lambda: step(real)
