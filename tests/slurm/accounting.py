"""The accounting of a cluster: a real slurmdbd over a MariaDB of its own, which listens on a socket alone."""

from __future__ import annotations

import os
import re

from cluster import Cluster, until

NOBODY = 65534
# Not --user: mariadb-install-db would give a folder of the system's to that user.
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
CONF = """
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
PidFile={root}/slurmdbd.pid
LogFile={root}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
"""


def forget(here: Cluster) -> None:
    """Waits until slurmctld no longer has a job that has ended; none is kept for long from now on."""
    conf = here.root / "slurm.conf"
    conf.write_text(re.sub("MinJobAge=.*", "MinJobAge=2", conf.read_text()))
    here.call("scontrol", "reconfigure")
    until(lambda: not here.call("squeue", "--noheader", "--states=all"), "an empty memory", here)


def accounting(here: Cluster, port: int) -> None:
    """Starts it with the cluster's folder as its place, and registers the cluster."""
    folder = here.root / "mariadb"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    place = ("--no-defaults", f"--datadir={folder}")
    here.call(*AS_NOBODY, "mariadb-install-db", *place, "--skip-test-db", "--auth-root-authentication-method=socket")
    here.commands["mariadbd"] = [*AS_NOBODY, "mariadbd", *place, f"--socket={folder}/socket", "--skip-networking"]
    # slurmdbd.conf has no word for a socket.
    here.commands["slurmdbd"] = ["env", f"MYSQL_UNIX_PORT={folder}/socket", "slurmdbd", "-D"]
    conf = here.root / "slurmdbd.conf"
    conf.touch(0o600)  # slurmdbd refuses one that others can read
    conf.write_text(CONF.format(root=here.root, port=port))
    here.start("mariadbd")
    until(lambda: (folder / "socket").exists(), "mariadbd", here)
    here.start("slurmdbd")
    until(lambda: here.ask("sacctmgr", "show", "cluster").returncode == 0, "slurmdbd", here)
    here.call("sacctmgr", "--immediate", "add", "cluster", "hpcdl-test")
