"""From pixels in [0, 255] to what the network sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# ImageNet's channel means, blue first, as Caffe's models subtract them.
CAFFE = (103.939, 116.779, 123.68)
FIXED = {"unit": (1 / 255, 0.0), "centered": (1 / 255, 0.5), "symmetric": (2 / 255, 1.0), "none": (1.0, 0.0)}
"""Of each scheme, by what pixels are multiplied, and what is subtracted then."""


def normalize(images: Any, scheme: str, mean: Sequence[float], std: Sequence[float]) -> Any:
    """Normalises images (…, channels), float32 in [0, 255], arrays or tensors.

    Args:
        images: what to normalise.
        scheme: `data.normalize` of a recipe.
        mean: channel means in [0, 1], for `standard`.
        std: channel deviations in [0, 1], for `standard`.
    """
    scale, shift = _affine(scheme, mean, std)
    if scheme == "caffe":
        images = images[..., ::-1]
    scaled = images * scale
    return scaled - shift if np.any(shift) else scaled


def _affine(
    scheme: str, mean: Sequence[float], std: Sequence[float]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    if scheme == "standard":
        deviations = np.asarray(std, np.float32)
        return np.float32(1 / 255) / deviations, np.asarray(mean, np.float32) / deviations
    if scheme == "caffe":
        return np.ones(1, np.float32), np.asarray(CAFFE, np.float32)
    scale, shift = FIXED[scheme]
    return np.full(1, scale, np.float32), np.full(1, shift, np.float32)
