"""How ranks share a node's processor without fighting: pure, from the topology and the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpcdl.errors import ConfigError
from hpcdl.launch.hosts import HERE, Allocation, Here, Listed, Where, describe, offered
from hpcdl.launch.topology import Topology

THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
FIXED = {
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONUNBUFFERED": "1",
}
BETWEEN = "TF_NUM_INTEROP_THREADS"
NETWORK = ("NCCL_SOCKET_IFNAME", "OMPI_MCA_btl_tcp_if_include", "HOROVOD_GLOO_IFACE")
"""What tells NCCL, Open MPI and Gloo which network interface to take."""
ONE_NODE = {"OMPI_MCA_btl": "^ofi"}
"""For ranks that share a node: Open MPI 5.0 looks for networks through libfabric for a second at each start, even if
all will go through shared memory."""
CHOSEN = (*THREADS, BETWEEN, *FIXED, *ONE_NODE)
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


def network(interface: str | None) -> dict[str, str]:
    """The variables that keep ranks to one network interface; none where they may choose."""
    return dict.fromkeys(NETWORK, interface) if interface else {}


def check_slots(topology: Topology, ranks: int, *, oversubscribe: bool, where: Where = HERE) -> None:
    """Refuses more ranks than cores of this machine, or than slots of other hosts, unless that is wanted.

    A Slurm job of one node counts cores: it is the machine that this process runs on.

    Raises:
        ConfigError: ranks below 1, or above the slots without `oversubscribe`.
    """
    each = () if isinstance(where, Here) else offered(where)
    if isinstance(where, Allocation) and len(each) == 1:
        each = ()
    slots = sum(each) or topology.cores
    if ranks < 1:
        raise ConfigError(f"-n {ranks}", "at least 1 rank", f"use -n {slots} on {describe(where, 'this machine')}")
    if ranks <= slots or oversubscribe:
        return
    if not each:
        raise ConfigError(
            f"-n {ranks} on {topology.host}, which offers {slots} slots",
            f"at most one rank a core: 1 to {slots}",
            f"use -n {slots}, or add --oversubscribe to let ranks share cores",
        )
    more = "name more with --hosts" if isinstance(where, Listed) else "ask Slurm for more tasks (--ntasks-per-node)"
    raise ConfigError(
        f"-n {ranks} on {describe(where, topology.host)}, which offer {slots} slots ({' + '.join(map(str, each))})",
        f"at most one rank a slot: 1 to {slots}",
        f"use -n {slots}, {more}, or add --oversubscribe to let ranks share cores",
    )
