"""The recipes that ship with hpcdl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpcdl.config.shipped import shipped
from hpcdl.errors import ConfigError

Kind = Literal["cpu", "gpu"]
FOLDER = shipped("containers")


@dataclass(frozen=True)
class Recipe:
    """An image that can be built."""

    kind: Kind
    python: str
    """Version of the image's Python."""

    @property
    def definition(self) -> Path:
        """The .def file."""
        return FOLDER / f"hpcdl-{self.kind}.def"

    @property
    def requirements(self) -> Path:
        """The list of its packages, each with its version."""
        return FOLDER / f"hpcdl-{self.kind}.txt"


RECIPES = {"cpu": Recipe("cpu", "3.11"), "gpu": Recipe("gpu", "3.12")}


def arguments(recipe: Recipe, version: str, mirror: str | None, image: str | None) -> Mapping[str, str]:
    """What stands in braces in a recipe.

    Args:
        recipe: which.
        version: hpcdl's.
        mirror: of Debian, for the processors' image.
        image: NVIDIA's, for the GPUs'.

    Raises:
        ConfigError: the one that it needs is not known, or cannot be one.
    """
    if recipe.kind == "gpu":
        if not image or not image.rsplit("/", 1)[-1].partition(":")[2]:
            raise ConfigError(
                f"--image {image}" if image else "no --image",
                "NVIDIA's TensorFlow image with its tag",
                "--image REGISTRY/NAME:25.02-tf2-py3, say; hpcdl's authors have built none",
            )
        return {"image": image, "version": version}
    if not mirror or not mirror.startswith(("http://", "https://", "file:///")):
        raise ConfigError(
            f"--mirror {mirror}" if mirror else "no Debian mirror in /etc/apt",
            "the address of a mirror of Debian",
            "--mirror http://HOST/debian",
        )
    return {"mirror": mirror, "version": version}
