"""A real Slurm of four nodes on this machine: munge, slurmctld and four slurmd, each with a host name of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, sleep

NODES = ("n1", "n2", "n3", "n4")
CONF = """
ClusterName=hpcdl-test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
StateSaveLocation={root}/state
SlurmdPidFile={root}/%n.pid
SlurmdLogFile={root}/%n.log
SlurmdSpoolDir={root}/%n
TmpFS={root}/%n/tmp
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=1
{accounting}
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
ReturnToService=2
KillWait=5
MessageTimeout=5
MinJobAge={min_job_age}
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=01:00:00 State=UP
"""
WITHOUT = "AccountingStorageType=accounting_storage/none"
WITH = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={root}/munge.socket"""
ORDER = ("munged", "mariadbd", "slurmdbd", "slurmctld", *NODES)
"""Of the start; the end goes backwards."""


@dataclass
class Cluster:
    """Running daemons; `env` reaches them."""

    root: Path
    commands: dict[str, list[str]] = field(default_factory=dict)
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.root / "slurm.conf")}

    def ask(self, *argv: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A Slurm command that has ended, well or not."""
        return subprocess.run(argv, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=timeout)

    def call(self, *argv: str, timeout: float = 60) -> str:
        """What a Slurm command says; an error fails the test with its words."""
        done = self.ask(*argv, timeout=timeout)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def start(self, name: str) -> None:
        """One daemon, in a session of its own; nodes see their own names as the host's."""
        munge = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        files = [f"--{option}={self.root}/munge.{name}" for option, name in munge.items()]
        commands = {
            "munged": ["munged", "--foreground", "--force", *files],
            "slurmctld": ["slurmctld", "-D"],
            **self.commands,
        }
        node = ["unshare", "--uts", "sh", "-c", f"hostname {name}; exec slurmd -D -N {name}"]
        log = (self.root / f"{name}.out").open("ab")
        self.daemons[name] = subprocess.Popen(
            commands.get(name, node),
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def crash(self, name: str) -> None:
        """A node dies: all that runs under its name ends at once, and slurmctld is told what it would find out."""
        space = Path(f"/proc/{self.daemons[name].pid}/ns/uts").readlink()
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if (entry / "ns" / "uts").readlink() == space:
                    os.kill(int(entry.name), signal.SIGKILL)
        self.daemons.pop(name).wait()
        self.call("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=dead")

    def repair(self, name: str) -> None:
        """It is there again."""
        self.start(name)
        self.call("scontrol", "update", f"NodeName={name}", "State=RESUME")
        until(lambda: _idle(self), "four idle nodes", self)

    def stop(self, name: str) -> None:
        """Ends a daemon by its id."""
        process = self.daemons.pop(name)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def cluster(min_job_age: int = 300, accounting: Callable[[Cluster, int], None] | None = None) -> Iterator[Cluster]:
    """Starts the cluster, waits until its nodes are idle, and leaves nothing behind.

    Args:
        min_job_age: seconds after which slurmctld may forget a job that has ended.
        accounting: starts it on a port, as soon as munge answers; slurmctld asks for it at its start.
    """
    root = Path(mkdtemp(prefix="hpcdl-slurm-"))
    root.chmod(0o755)
    here = Cluster(root)
    (root / "munge.key").write_bytes(os.urandom(128))
    (root / "munge.key").chmod(0o600)
    for folder in ("state", *(f"{name}/tmp" for name in NODES)):
        (root / folder).mkdir(parents=True)
    (root / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    gpus = [root / f"gpu{number}" for number in range(2)]
    for gpu in gpus:
        os.mknod(gpu, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # like /dev/null
    (root / "gres.conf").write_text("".join(f"NodeName={name} Name=gpu File={root}/gpu[0-1]\n" for name in NODES))
    ports = _free_ports(2 + len(NODES))
    lines = [
        f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=4000 Gres=gpu:2"
        for name, port in zip(NODES, ports[2:], strict=True)
    ]
    conf = CONF.format(
        host=socket.gethostname(),
        root=root,
        ports=ports,
        min_job_age=min_job_age,
        accounting=WITH.format(root=root, port=ports[1]) if accounting else WITHOUT,
        nodes="\n".join(lines),
    )
    (root / "slurm.conf").write_text(conf)
    try:
        here.start("munged")
        until(lambda: (root / "munge.socket").exists(), "munged", here)
        if accounting:
            accounting(here, ports[1])
        here.start("slurmctld")
        for name in NODES:
            here.start(name)
        until(lambda: _idle(here), "four idle nodes", here)
        yield here
    finally:
        with suppress(Exception):
            here.call("scancel", "--user", "root")
            until(lambda: not here.call("squeue", "--noheader"), "an empty queue", here)
        for name in reversed(ORDER):
            if name in here.daemons:
                here.stop(name)
        _end_leftovers(root)
        shutil.rmtree(root, ignore_errors=True)


def _idle(here: Cluster) -> bool:
    return here.ask("sinfo", "--noheader", "--Node", "--format=%t", timeout=20).stdout.split() == ["idle"] * len(NODES)


def until(true: Callable[[], object], what: str, here: Cluster, seconds: float = 60) -> None:
    """Waits; in vain, it tells what all daemons logged."""
    end = monotonic() + seconds
    while not true():
        if monotonic() > end:
            told = "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in here.root.glob("*.[lo][ou][gt]"))
            raise TimeoutError(f"no {what} after {seconds} s\n{told}")
        sleep(0.3)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _end_leftovers(root: Path) -> None:
    """slurmstepd processes outlive a slurmd; those that hold this cluster's configuration are ours."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            known = (entry / "environ").read_bytes().split(b"\0")
            if f"SLURM_CONF={root}/slurm.conf".encode() in known and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)
