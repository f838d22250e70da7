"""The world, read from what each launcher sets."""

from __future__ import annotations

import pytest

from hpcdl.errors import WorldError
from hpcdl.training.session import place
from hpcdl.world import World


def test_without_a_launcher_there_is_one_rank() -> None:
    assert World.from_env({"PATH": "/bin"}) == World()
    assert World().is_leader


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {
                "OMPI_COMM_WORLD_RANK": "5",
                "OMPI_COMM_WORLD_SIZE": "8",
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
            },
            World(5, 8, 1, 4, 1, 2, "mpirun"),
        ),
        (
            {
                "HOROVOD_RANK": "3",
                "HOROVOD_SIZE": "4",
                "HOROVOD_LOCAL_RANK": "1",
                "HOROVOD_LOCAL_SIZE": "2",
                "HOROVOD_CROSS_RANK": "1",
                "HOROVOD_CROSS_SIZE": "2",
            },
            World(3, 4, 1, 2, 1, 2, "horovodrun"),
        ),
        (
            {
                "SLURM_PROCID": "2",
                "SLURM_STEP_NUM_TASKS": "4",
                "SLURM_LOCALID": "0",
                "SLURM_NODEID": "1",
                "SLURM_STEP_NUM_NODES": "2",
            },
            World(2, 4, 0, 2, 1, 2, "slurm"),
        ),
        (
            {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"},
            World(1, 2, 1, 2, 0, 1, "pmi"),
        ),
        # an sbatch shell, in which there is no step
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}, World()),
    ],
)
def test_each_launcher_is_understood(environ: dict[str, str], expected: World) -> None:
    assert World.from_env(environ) == expected


@pytest.mark.parametrize(("rank", "size"), [("x", "2"), ("2", "2"), ("-1", "2"), ("0", "0")])
def test_a_world_that_cannot_be_is_refused(rank: str, size: str) -> None:
    with pytest.raises(WorldError):
        World.from_env({"OMPI_COMM_WORLD_RANK": rank, "OMPI_COMM_WORLD_SIZE": size})


def test_nodes_and_local_ranks_follow_from_host_names() -> None:
    hosts = ["b", "a", "b", "a", "a"]
    placed = [place(World(rank=rank, size=5), hosts) for rank in range(5)]
    assert [world.node for world in placed] == [0, 1, 0, 1, 1]
    assert [world.local_rank for world in placed] == [0, 0, 1, 1, 2]
    assert [world.local_size for world in placed] == [2, 3, 2, 3, 3]
    assert {world.nodes for world in placed} == {2}
