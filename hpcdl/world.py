"""Which rank am I, of how many, and where: read once, from a mapping, into a frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpcdl.errors import WorldError


@dataclass(frozen=True)
class World:
    """The ranks of one job as this rank sees them.

    Attributes:
        rank: 0 … size-1.
        size: ranks in the job (the world size).
        local_rank: 0 … local_size-1, among the ranks of this node.
        local_size: ranks on this node.
        node: 0 … nodes-1.
        nodes: nodes in the job.
        launcher: what started the ranks: "mpirun", "horovodrun", "slurm", "pmi" or "none".
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    node: int = 0
    nodes: int = 1
    launcher: str = "none"

    @property
    def is_leader(self) -> bool:
        """True on the one rank that prints and writes shared files."""
        return self.rank == 0

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> World:
        """Reads what the launcher said. Without a launcher: one rank.

        Open MPI does not tell a rank its node's number; it is taken from the usual placement
        by node here, and `hpcdl.init` replaces it with what the ranks tell each other.

        Raises:
            WorldError: a launcher's variable is not a number, or the rank is outside the world.
        """
        for launcher, names in LAUNCHERS:
            if names[0] in environ and names[1] in environ:
                return _read(environ, launcher, names)
        return World()


# rank, size, local rank, local size, node, nodes; "" where the launcher does not tell.
LAUNCHERS = (
    (
        "horovodrun",
        (
            "HOROVOD_RANK",
            "HOROVOD_SIZE",
            "HOROVOD_LOCAL_RANK",
            "HOROVOD_LOCAL_SIZE",
            "HOROVOD_CROSS_RANK",
            "HOROVOD_CROSS_SIZE",
        ),
    ),
    (
        "mpirun",
        (
            "OMPI_COMM_WORLD_RANK",
            "OMPI_COMM_WORLD_SIZE",
            "OMPI_COMM_WORLD_LOCAL_RANK",
            "OMPI_COMM_WORLD_LOCAL_SIZE",
            "",
            "",
        ),
    ),
    # SLURM_STEP_ID's variables exist in the batch shell too, where there is one process and no
    # SLURM_LOCALID of a step; SLURM_STEP_NUM_TASKS is set by srun alone.
    ("slurm", ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "", "SLURM_NODEID", "SLURM_STEP_NUM_NODES")),
    ("pmi", ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "", "")),
)


def _read(environ: Mapping[str, str], launcher: str, names: tuple[str, ...]) -> World:
    def number(name: str, default: int) -> int:
        text = environ.get(name, "") if name else ""
        if not text:
            return default
        try:
            return int(text)
        except ValueError:
            raise WorldError(
                f"{name}={text!r}",
                "a whole number, as the launcher sets it",
                f"unset {name}, or start with `hpcdl run`",
            ) from None

    rank, size = number(names[0], 0), number(names[1], 1)
    if not 0 <= rank < size:
        raise WorldError(
            f"{names[0]}={rank} with {names[1]}={size}",
            "a rank from 0 to the world size minus 1",
            "start with `hpcdl run`, or unset both variables",
        )
    nodes = number(names[5], 0)
    local_size = number(names[3], -(-size // nodes) if nodes else size)
    nodes = nodes or max(1, -(-size // local_size))
    return World(
        rank=rank,
        size=size,
        local_rank=number(names[2], rank % local_size),
        local_size=local_size,
        node=number(names[4], rank // local_size),
        nodes=nodes,
        launcher=launcher,
    )
