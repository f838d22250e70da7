"""What the step model does not know of a machine, and how much it may be before anything was measured.

Round figures: from physics, from what libraries and machines are known to reach, and, for `serial`, from published
runs that would not have been possible with more of it (90 % at 512 GPUs, Horovod; 90.7 % at 27,360, Kurth and others
2018). benchmarks/README.md tells which were chosen after looking at tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Unknown:
    """A quantity above 0 with a log-normal prior: two thirds of it within `median` / and x `factor`."""

    name: str
    median: float
    factor: float
    why: str

    def of(self, deviations: Array) -> Array:
        """Its values at deviations from the median, in logarithms of `factor`."""
        values: Array = self.median * self.factor**deviations
        return values


UNKNOWNS = [
    Unknown("compute", 1.0, 1.35, "an image's seconds, over those of the fewest ranks of the table"),
    Unknown("start", 1.0, 4.0, "images whose time a step takes before its first, where the batch is known"),
    Unknown("parallel", 0.015, 3.0, "what more than one rank adds to compute: copies into buffers, hooks"),
    Unknown("sharing", 0.02, 4.0, "what a full node adds to compute: memory, PCIe, processors, input are shared"),
    Unknown("rank_spread", 0.01, 2.5, "deviation of a rank's step over its mean: about 1 % on machines of one's own"),
    Unknown("node_spread", 0.01, 2.5, "the same of nodes"),
    Unknown("inside", 0.7, 1.5, "share of the line rate that is reached inside a node, at most 1"),
    Unknown("between", 0.5, 2.0, "share of the line rate that is reached between nodes, at most 1"),
    Unknown(
        "levels", 1.0, 2.0, "above 1: reduced inside nodes, then between them; below: one ring or tree through all"
    ),
    Unknown(
        "serial", 3e-5, 8.0, "what each more rank adds to compute: one file system, one master, fixed costs an epoch"
    ),
    Unknown("feeding", 0.3, 2.5, "a full node's input over its compute, where the input's rate is not told"),
    Unknown("overlap", 1.0, 3.0, "odds that a moment of the backward pass hides communication"),
    Unknown("noise", 0.01, 2.0, "relative deviation of a measured rate from the model"),
]
UNTOLD = {
    "inside": Unknown("inside", 0.05, 3.0, "communication inside a node over compute, where bytes or link are untold"),
    "between": Unknown(
        "between", 0.15, 3.0, "communication between nodes over compute, where bytes or link are untold"
    ),
}
PLACE = {unknown.name: place for place, unknown in enumerate(UNKNOWNS)}
