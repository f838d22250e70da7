"""A simulation of training on many ranks, event by event: what the formulas of `network` say, without them.

Every rank draws its compute time; its gradients get ready bucket by bucket; a bucket's reduction starts when the last
rank has it and the bucket before is through; a step ends with the last bucket, and the next one starts when its batch
is there. All ranks of a step are one array, so 100,000 of them take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hpcdl.analysis.forecast import Calibrated

Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Machine:
    """What is simulated, in seconds a step.

    Attributes:
        compute: mean of a rank's forward and backward pass.
        backward: seconds of it, at its end, at even times of which buckets get ready; 0: all at its end.
        rank_spread: deviation of a rank's compute time over its mean, drawn anew for each step; normal, cut at 0.
        node_spread: the same of a node, for all its ranks together.
        ranks_per_node: ranks that share a node.
        buckets: reductions a step.
        reduction: seconds of all buckets' communication.
        input: seconds that the input takes for a batch, beside all else.
        prefetched: batches that the input may be ahead.
    """

    compute: float
    backward: float = 0.0
    rank_spread: float = 0.0
    node_spread: float = 0.0
    ranks_per_node: int = 1
    buckets: int = 1
    reduction: float = 0.0
    input: float = 0.0
    prefetched: int = 2


def simulate(machine: Machine, ranks: int, steps: int, seed: int = 0) -> Array:
    """Seconds of each step, from its begin, or the end of the one before, to its end.

    Args:
        machine: what is simulated.
        ranks: how many; they fill the nodes in order.
        steps: how many.
        seed: the same seed gives the same steps.
    """
    random = np.random.default_rng(seed)
    node_of = np.arange(ranks) // machine.ranks_per_node
    done = np.arange(1, machine.buckets + 1) / machine.buckets
    # A slow rank is late with each bucket by the same share.
    ready = 1.0 - machine.backward / machine.compute * (1.0 - done)
    one = machine.reduction / machine.buckets
    begins, ends, fetched = np.zeros(steps), np.zeros(steps + 1), 0.0
    for step in range(steps):
        place = begins[step - machine.prefetched] if step >= machine.prefetched else 0.0
        fetched = max(fetched, place) + machine.input
        begins[step] = max(ends[step], fetched)
        factor = 1.0 + machine.rank_spread * random.standard_normal(ranks)
        if machine.node_spread:
            factor += machine.node_spread * random.standard_normal(node_of[-1] + 1)[node_of]
        own = machine.compute * np.maximum(factor, 0.0)
        end = 0.0
        for share in ready:
            end = max(end, float(np.max(share * own))) + one
        ends[step + 1] = begins[step] + end
    return np.diff(ends)


def machine_of(calibrated: Calibrated, ranks: int) -> tuple[Machine, float]:
    """The machine of the draw whose rate is the median forecast, and the images of all ranks a step."""
    parts = calibrated.parts([ranks])
    at = int(np.argsort(parts.rates([ranks])[:, 0])[len(calibrated.values) // 2])
    of = {name: float(getattr(parts, name)[at, 0]) for name in ("compute", "window", "reduction", "input")}
    compute = of["compute"] + sum(float(each[at, 0]) for each in (parts.parallel, parts.sharing, parts.serial))
    # Spreads are those of the forecast's compute alone.
    own = compute / of["compute"]
    setting = calibrated.setting
    machine = Machine(
        compute=compute,
        backward=of["window"],
        rank_spread=calibrated.spread("rank_spread", at) / own,
        node_spread=calibrated.spread("node_spread", at) / own,
        ranks_per_node=setting.ranks_per_node,
        buckets=int(setting.buckets),
        reduction=of["reduction"],
        input=of["input"],
    )
    return machine, float(parts.images[0]) * ranks
