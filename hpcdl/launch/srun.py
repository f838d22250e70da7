"""The srun line, inside of a Slurm job: values in, argv out."""

from __future__ import annotations

from collections.abc import Sequence

from hpcdl.launch.hosts import Allocation, evenly
from hpcdl.launch.tuning import Tuning


def srun_argv(pmi: str, ranks: int, tuning: Tuning, command: Sequence[str], where: Allocation) -> list[str]:
    """The argv that starts `ranks` copies of a command on a job's nodes.

    One rank that fails ends all. srun no longer takes --cpus-per-task from the job (Slurm 22.05), so it is told again.

    Args:
        pmi: plugin for --mpi, as "pmix".
        ranks: the world size.
        tuning: environment.
        command: argv of each rank.
        where: the job.
    """
    each = evenly(where, ranks)
    return [
        "srun",
        f"--mpi={pmi}",
        f"--ntasks={ranks}",
        *([f"--nodes={len(where.slots)}", f"--ntasks-per-node={each}"] if each else []),
        *([f"--cpus-per-task={where.cpus_per_task}"] if where.cpus_per_task else []),
        "--kill-on-bad-exit=1",
        "env",
        *[f"{name}={value}" for name, value in sorted(tuning.env.items())],
        *command,
    ]
