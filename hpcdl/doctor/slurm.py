"""Slurm: commands, controller, job, PMIx plugins, accounting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpcdl.answer import Answer
from hpcdl.doctor.findings import Finding, ok, warning
from hpcdl.doctor.here import Here, last_line
from hpcdl.mpi import Mpi, read_plugins

NO_ACCOUNTING = "not running a supported accounting_storage plugin"
"""In what sacctmgr says where a site keeps none."""


def check(here: Here, library: Mpi | None) -> list[Finding]:
    """Slurm's lines.

    Args:
        here: whose commands are asked.
        library: the MPI that ranks load.
    """
    version = here.answer("sinfo", "--version")
    if version is None:
        return [ok("Slurm", "none (`hpcdl run` starts ranks on this machine)"), *judge_job(here.environ)]
    ping = here.answer("scontrol", "ping")
    first = judge_controller(version, ping)
    if first.state != "ok":
        return [first]
    plugins = here.answer("srun", "--mpi=list")
    accounting = here.answer("sacctmgr", "-n", "-P", "show", "cluster")
    return [
        first,
        *judge_job(here.environ),
        *([judge_plugins(read_plugins(plugins.out + plugins.err), library)] if plugins else []),
        judge_accounting(accounting),
    ]


def judge_controller(version: Answer, ping: Answer | None) -> Finding:
    """Whether the commands find their controller."""
    if version.code != 0 or ping is None:
        said = last_line(version)
        told = f"its commands are installed, and say: {said}"
        return warning(
            "Slurm", told, "a login node has /etc/slurm/slurm.conf or SLURM_CONF; without Slurm nothing is amiss"
        )
    told, answered = version.out.strip(), ping.out.strip().splitlines()[:1]
    if not any("is UP" in line for line in answered):
        said = answered[0] if answered else last_line(ping)
        return warning("Slurm", f"{told}; its controller does not answer: {said}", "ask the admins; or start slurmctld")
    return ok("Slurm", f"{told}; {answered[0]}")


def judge_job(environ: Mapping[str, str]) -> list[Finding]:
    """Inside of a job or not."""
    job = environ.get("SLURM_JOB_ID")
    if job is None:
        return []
    nodes, tasks = environ.get("SLURM_JOB_NUM_NODES", "1"), environ.get("SLURM_NTASKS", "1")
    where = environ.get("SLURM_JOB_PARTITION", "a partition that is not told")
    return [ok("job", f"inside {job} of {where}: {nodes} nodes, {tasks} tasks")]


def judge_plugins(plugins: Sequence[str], library: Mpi | None) -> Finding:
    """Open MPI 5 learns from srun who it is by PMIx alone; mpirun needs none of them."""
    told = ", ".join(plugins) or "none told"
    if any(name.startswith("pmix") for name in plugins):
        return ok("srun --mpi", told)
    if library is None or library.kin != "Open MPI":
        return ok("srun --mpi", told)
    alone = f"{told}: without pmix every rank of {library.name} that srun starts is alone"
    return warning(
        "srun --mpi", alone, "start with mpirun inside of jobs (mpi.start: mpirun); or install libpmix2 and libpmix-dev"
    )


def judge_accounting(answer: Answer | None) -> Finding:
    """Without it, jobs are followed with squeue; one that does not answer is another matter."""
    if answer is None or NO_ACCOUNTING in answer.err + answer.out:
        said = "" if answer is None else f": {last_line(answer)}"
        return ok(
            "accounting", f"none (finished jobs are told by squeue for some minutes, then by their records){said}"
        )
    if answer.code != 0:
        told = f"does not answer: {last_line(answer)}"
        return warning("accounting", told, "ask the admins; until then, ended jobs are told by their records")
    names = [line.split("|")[0] for line in answer.out.splitlines() if line]
    return ok("accounting", f"cluster {', '.join(names)}" if names else "answers, and names no cluster")
