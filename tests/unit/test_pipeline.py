"""Batches against NumPy: the right samples, changed in the right way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpcdl.config.schema import DataConfig
from hpcdl.data import cifar10
from hpcdl.data.order import augmentation, permutation, shares
from hpcdl.data.pipeline import Batches


@pytest.mark.parametrize("normalize", ["unit", "standard"])
@pytest.mark.parametrize("augment", [[], ["flip"], ["pad-crop", "flip"]])
def test_training_batches_are_what_numpy_makes(small_cifar: Path, normalize: str, augment: list[str]) -> None:
    data = cifar10.load(small_cifar / cifar10.FOLDER)
    config = DataConfig(source="cifar10", normalize=normalize, augment=augment)
    batches = Batches(data, data.train, config)
    order = permutation(250, seed=5, epoch=3)
    offsets, flips = augmentation(250, seed=5, epoch=3)
    for rank in range(3):
        parts = shares(250, 32, 8, rank, 3)
        for part, (images, labels) in zip(parts, batches.epoch(parts, seed=5, epoch=3), strict=True):
            places = order[part.start : part.stop]
            expected = data.train.pixels[places]
            if "pad-crop" in augment:
                padded = np.pad(expected, ((0, 0), (4, 4), (4, 4), (0, 0)))
                cut = [image[y : y + 32, x : x + 32] for image, (y, x) in zip(padded, offsets[places], strict=True)]
                expected = np.stack(cut) if cut else expected
            if "flip" in augment:
                expected = np.where(flips[places][:, None, None, None], expected[:, :, ::-1], expected)
            scaled = expected / 255.0
            if normalize == "standard":
                scaled = (scaled - np.array(cifar10.MEAN)) / np.array(cifar10.STD)
            np.testing.assert_allclose(images.numpy(), scaled, atol=2e-6)
            assert labels.numpy().tolist() == data.train.labels[places].tolist()


def test_evaluation_batches_hold_the_test_set_in_order(small_cifar: Path) -> None:
    data = cifar10.load(small_cifar / cifar10.FOLDER)
    batches = Batches(data, data.test, DataConfig(source="cifar10", augment=["flip"]))
    pairs = [batches.plain(shares(60, 14, 7, rank, 2)) for rank in range(2)]
    together = [labels.numpy() for both in zip(*pairs, strict=True) for _, labels in both]
    assert np.concatenate(together).tolist() == data.test.labels.tolist()
