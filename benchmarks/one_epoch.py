"""What benchmarks/invariance.py runs on every rank: an epoch of a recipe on the first images of a set.

    hpcdl run benchmarks/one_epoch.py -n N -- OUT.npz DATA IMAGES SHUFFLE RECIPE key=value …

SHUFFLE 0 trains as the recipe does; another number adds up the gradients of the micro-batches in
an order of its own, and everything else as before.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

import hpcdl
from hpcdl.config.load import load
from hpcdl.data.sources import registry as sources
from hpcdl.data.subset import pick
from hpcdl.training import trainer
from hpcdl.training.replica import Replica, Tensors
from hpcdl.training.session import current
from hpcdl.training.timing import StepTimes


class Reordered(Replica):
    """Adds up gradients in another order; one pass would leave no order to change."""

    shuffle = 0

    def _fold(self, rows: Tensors, first: tf.Tensor, micros: tf.Tensor, vote: tf.Tensor) -> Tensors:
        order = np.random.default_rng(self.shuffle).permutation(len(rows))
        count = len(self.model.trainable_variables)
        gradients = super()._fold([rows[place] for place in order], first, micros, vote)[:count]
        return [*gradients, *super()._fold(rows, first, micros, vote)[count:]]

    def _rows(self, images: tf.Tensor, labels: tf.Tensor, seeds: tf.Tensor) -> list[Tensors]:
        self._one_pass = False
        return super()._rows(images, labels, seeds)


def main(out: str, data: str, images: str, shuffle: str, recipe: str, *overrides: str) -> None:
    """Trains, and rank 0 writes the weights."""
    world = hpcdl.init()
    config = load(recipe, list(overrides))
    whole = sources.load(config.data, Path(data))
    few = replace(whole, train=pick(whole.train, np.arange(int(images))))
    if int(shuffle):
        Reordered.shuffle = int(shuffle)
        trainer.Replica = Reordered  # type: ignore[attr-defined]
    with StepTimes(Path(out).with_suffix(f".{world.rank}.csv")) as times:
        run = trainer.Trainer(config, few, current(), times, lambda event: None)
        summary = run.train()
    if world.is_leader:
        np.savez(out, *run.model.get_weights(), loss=summary["loss"], updates=summary["updates"])


if __name__ == "__main__":
    main(*sys.argv[1:])
