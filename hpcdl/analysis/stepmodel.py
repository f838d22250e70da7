"""A step's seconds at any rank count: what is known of a machine, what is not, and the model that joins them.

    step = max(input, compute + waiting + exposed communication)

Compute grows once when there is more than one rank (copies, hooks) and with the ranks that share a node; waiting is
for the slowest of the ranks and of the nodes; communication has two levels and hides behind the backward pass.
Unknowns have priors from physics and published figures, so that a table of a few points is enough, and what it does
not tell stays as uncertain as it is. All times of one model are relative or in seconds: in seconds where bytes, batch
and link are known, and else the communication is an unknown share of the compute time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hpcdl.analysis import network
from hpcdl.analysis.links import Link
from hpcdl.analysis.network import Cost
from hpcdl.analysis.priors import PLACE, UNKNOWNS, UNTOLD

Array: TypeAlias = npt.NDArray[np.float64]
BACKWARD = 2.0 / 3.0
"""Share of compute that is the backward pass: two products of matrices for the forward pass's one."""
UNTOLD_BUCKETS = 4.0


@dataclass(frozen=True)
class Setting:
    """What is known; None is not known.

    Attributes:
        ranks_per_node: ranks that share a node.
        batch: images of a rank a step, the same at all rank counts (weak scaling).
        global_batch: images of all ranks a step, the same at all rank counts (strong scaling); without `batch`.
        bytes: of the gradients that a step reduces.
        inside: link between two ranks of a node.
        between: link of a node to the others.
        bucket_bytes: gradients that are reduced at once.
        overlap: whether reductions run beside the backward pass.
        input_rate: images/s that the input can give one rank; infinite for synthetic images.
        rank_spread: deviation of a rank's own step over its mean.
        batches: times the batch that was measured.
        carried: share of the bytes that travel; 0.5 with 16-bit compression of what is counted in 32.
        faster: speed of the link between nodes over what it is.
        fed: speed of the input over what it is.
    """

    ranks_per_node: int
    batch: float | None = None
    global_batch: float | None = None
    bytes: float | None = None
    inside: Link | None = None
    between: Link | None = None
    bucket_bytes: float = 64.0 * 2**20
    overlap: bool = True
    input_rate: float | None = None
    rank_spread: float | None = None
    batches: float = 1.0
    carried: float = 1.0
    faster: float = 1.0
    fed: float = 1.0

    def images(self, ranks: Array) -> Array:
        """Images of a rank a step; 1 where that is not known, so that times are those of one image."""
        if self.global_batch is not None:
            return self.batches * self.global_batch / ranks
        return np.full_like(ranks, self.batches * (self.batch or 1.0))

    @property
    def timed(self) -> bool:
        """Whether a step's seconds are known, and not only those of an image."""
        return self.batch is not None or self.global_batch is not None

    @property
    def buckets(self) -> float:
        """Reductions a step."""
        if self.bytes is None:
            return UNTOLD_BUCKETS
        return max(1.0, math.ceil(self.carried * self.bytes / self.bucket_bytes))


@dataclass(frozen=True)
class Parts:
    """Where a step's seconds go, [draws, ranks] each; of one image where the batch is not known."""

    compute: Array
    parallel: Array
    sharing: Array
    waiting_ranks: Array
    waiting_nodes: Array
    serial: Array
    inside: Array
    """Communication inside the nodes, hidden or not."""
    between: Array
    reduction: Array
    """Both together, hidden or not."""
    window: Array
    """Of the backward pass, what hides communication."""
    exposed: Array
    input: Array
    """What the input needs, beside all else."""
    images: Array

    @property
    def busy(self) -> Array:
        """Seconds of a step that does not wait for its input."""
        own = self.compute + self.parallel + self.sharing + self.serial
        return own + self.waiting_ranks + self.waiting_nodes + self.exposed

    @property
    def step(self) -> Array:
        """Seconds of a step."""
        return np.maximum(self.input, self.busy)

    @property
    def communication(self) -> Array:
        """Share of a step from a rank's last gradient until the sum is there, the wait for slower ranks in it."""
        return (self.exposed + self.waiting_ranks + self.waiting_nodes) / self.step

    def rates(self, ranks: Sequence[int]) -> Array:
        """Images/s of all ranks, [draws, ranks]."""
        rates: Array = self.images * np.asarray(ranks, dtype=np.float64) / self.step
        return rates


def parts(values: Array, ranks: Sequence[int], setting: Setting, first: int, base: float) -> Parts:
    """The model.

    Args:
        values: [draws, unknowns], in deviations from the priors' medians.
        ranks: rank counts.
        setting: what is known.
        first: the fewest ranks measured.
        base: seconds of an image on one rank there.
    """
    p = np.asarray(ranks, dtype=np.float64)
    on_node = np.minimum(p, setting.ranks_per_node)
    nodes = np.ceil(p / setting.ranks_per_node)

    def of(name: str, untold: bool = False) -> Array:
        unknown = UNTOLD[name] if untold else UNKNOWNS[PLACE[name]]
        return unknown.of(values[:, PLACE[name], None])

    images = setting.images(p)
    start = of("start") if setting.timed else 0.0
    compute = base * of("compute") * (images + start)
    # A reduction takes as long however few images a rank has: an unknown one is told in the first batch's time.
    unit = base * of("compute") * (setting.images(np.array([float(first)])) / setting.batches + start)
    full = max(setting.ranks_per_node - 1.0, 1.0)

    def level(name: str, link: Link | None, size: Array) -> Array:
        faster = setting.faster if name == "between" else 1.0
        if link is None or setting.bytes is None or not setting.timed:
            share: Array = of(name, untold=True) * setting.carried / faster * (size - 1.0) / size
            return share * unit
        reached = faster * (1.0 if link.given else np.minimum(1.0, of(name)))
        transfer: Array = network.ring(setting.carried * setting.bytes, size, Cost(0.0, link.cost.beta)) / reached
        return transfer + setting.buckets * network.best(0.0, size, Cost(link.cost.alpha, 0.0))

    two = of("levels") > 1.0
    inside = level("inside", setting.inside, on_node)
    # One ring through all ranks carries nearly all bytes over each node's link, as soon as there are two nodes.
    one = np.where(nodes > 1.0, p, 1.0)
    between = np.where(two, level("between", setting.between, nodes), level("between", setting.between, one))
    reduction = np.where(two, inside + between, np.maximum(inside, between))
    spread = of("rank_spread") if setting.rank_spread is None else setting.rank_spread
    feeding = compute * of("feeding") * on_node / (full + 1.0)
    odds = of("overlap")
    window = compute * (BACKWARD * odds / (1.0 + odds) if setting.overlap else 0.0)
    return Parts(
        compute=compute,
        parallel=compute * of("parallel") * (p > 1.0),
        sharing=compute * of("sharing") * (on_node - 1.0) / full,
        waiting_ranks=compute * spread * _maxima(p),
        waiting_nodes=compute * of("node_spread") * _maxima(nodes),
        inside=inside,
        between=between,
        reduction=reduction,
        window=window,
        exposed=network.exposed_equal(reduction, setting.buckets, window),
        serial=compute * of("serial") * (p - 1.0),
        input=(compute * 0.0 + images / setting.input_rate if setting.input_rate else feeding) / setting.fed,
        images=images,
    )


def _maxima(counts: Array) -> Array:
    return np.array([network.expected_maximum(int(count)) for count in counts])
