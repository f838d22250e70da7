"""Networks: the parameters that the book and the paper print, and the layers."""

from __future__ import annotations

import numpy as np
import pytest

from hpcdl.errors import ConfigError
from hpcdl.models.registry import MODELS, build, check


@pytest.mark.parametrize("name", MODELS)
def test_the_registry_tells_the_parameters(name: str) -> None:
    assert build(name, (32, 32, 3), 10).count_params() == MODELS[name].parameters


def test_the_books_network_layer_by_layer() -> None:
    model = build("cifar10-cnn", (32, 32, 3), 10)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Conv2D", "MaxPooling2D"] * 3 + ["Flatten", "Dense", "Dense"]
    assert [layer.count_params() for layer in model.layers if layer.count_params()] == [
        896,
        18_496,
        36_928,
        65_600,
        650,
    ]


def test_resnet20_has_the_papers_size_and_depth() -> None:
    model = build("resnet20", (32, 32, 3), 10)
    weighted = [layer for layer in model.layers if type(layer).__name__ in {"Conv2D", "Dense"}]
    assert len(weighted) == 20
    # 0.27 M: 16 x 27, then stages of 16, 32 and 64 filters without projections, scale and shift, and the classifier
    convolutions = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64)
    normalisation = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == convolutions + normalisation + 650


def test_an_unknown_network_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="resnet2") as caught:
        check("resnet2")
    assert "resnet20" in caught.value.fix
