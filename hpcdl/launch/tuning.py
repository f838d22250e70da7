"""How ranks share a node's processor without fighting: pure, from the topology and the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpcdl.errors import ConfigError
from hpcdl.launch.topology import Topology

THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
FIXED = {
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONUNBUFFERED": "1",
}
BETWEEN = "TF_NUM_INTEROP_THREADS"
CHOSEN = (*THREADS, BETWEEN, *FIXED)
"""The variables that hpcdl chooses where the user has not."""


@dataclass(frozen=True)
class Tuning:
    """What was chosen for the ranks.

    Attributes:
        threads: compute threads a rank.
        binding: for mpirun's --bind-to.
        env: variables for every rank.
        oversubscribed: more ranks than cores.
    """

    threads: int
    binding: str
    env: Mapping[str, str]
    oversubscribed: bool


def tune(
    topology: Topology,
    ranks: int,
    *,
    threads: int | None = None,
    binding: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Tuning:
    """Chooses threads, binding and progress settings; what is given wins.

    Open MPI's and Horovod's threads poll on the cores that compute: ranks that yield when idle,
    with one compute thread a core, reach what processes reach that never talk, and the defaults
    far less (benchmarks/README.md). Without a binding the kernel moves those helper threads away.
    A rank with several threads runs two operations at a time, so that its input does not wait for the network's.

    Args:
        topology: the node.
        ranks: ranks on it.
        threads: compute threads a rank; None divides the cores.
        binding: for --bind-to; None is "none".
        env: wins over what is chosen.
    """
    share = threads or max(1, topology.cores // ranks)
    wide = {name: str(share) for name in THREADS}
    chosen = {**wide, BETWEEN: str(min(share, 2)), **FIXED}
    final = {**chosen, **(env or {})}
    told = final["TF_NUM_INTRAOP_THREADS"]
    return Tuning(
        threads=int(told) if told.isdigit() else share,
        binding=binding or "none",
        env=final,
        oversubscribed=ranks > topology.cores,
    )


def check_slots(topology: Topology, ranks: int, *, oversubscribe: bool) -> None:
    """Refuses more ranks than cores, unless that is wanted.

    Raises:
        ConfigError: ranks below 1, or above the cores without `oversubscribe`.
    """
    if ranks < 1:
        raise ConfigError(f"-n {ranks}", "at least 1 rank", f"use -n {topology.cores} on this machine")
    if ranks > topology.cores and not oversubscribe:
        raise ConfigError(
            f"-n {ranks} on {topology.host}, which offers {topology.cores} slots",
            f"at most one rank a core: 1 to {topology.cores}",
            f"use -n {topology.cores}, or add --oversubscribe to let ranks share cores",
        )
