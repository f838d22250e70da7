"""What a rank does and finds, from the ranks' side and from the judge's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Findings = dict[str, Any]


def out() -> Path:
    """The folder that the ranks of this world share for this module's work."""
    return Path(sys.argv[1]) / Path(sys.argv[0]).name


def data() -> Path:
    """The stand-in for CIFAR-10."""
    return Path(sys.argv[2])


def save(rank: int, work: Mapping[str, Callable[[], Findings]]) -> None:
    """Does each work and writes OUT/RANK.npz with "work: finding"; HPCDL_TESTS_WORK names the only ones to do."""
    only = os.environ.get("HPCDL_TESTS_WORK")
    work = {name: do for name, do in work.items() if only is None or name in only.split(";")}
    found = {f"{name}: {key}": np.asarray(value) for name, do in work.items() for key, value in do().items()}
    np.savez(out() / f"{rank}.npz", **found)


def weights_of(model: Any) -> Findings:
    """A model's weights as findings."""
    return {f"weight {place}": weight for place, weight in enumerate(model.get_weights())}


def weights(found: Mapping[str, Any], work: str) -> list[Array]:
    """The weights that a work left."""
    count = sum(key.startswith(f"{work}: weight") for key in found)
    return [found[f"{work}: weight {place}"] for place in range(count)]


def assert_same(ours: list[Array], theirs: list[Array], atol: float) -> None:
    """Fails where a weight differs by more than atol."""
    assert len(ours) == len(theirs) > 0
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=f"weight {place}")


def assert_alike(ranks: list[dict[str, Any]], work: str) -> None:
    """Fails where the ranks' weights differ in a bit."""
    for found in ranks[1:]:
        assert_same(weights(found, work), weights(ranks[0], work), atol=0)
